"""Which rules cover which others: all that the covered one lets through, the covering one lets through too.

A rule is one flow, or the flows of a conjunction. Rules are looked up as a switch looks up flows (tuple space search): by the
fields and masks that they look at, so that a search costs the number of different masks and not the number of rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from controller.pipeline.fields import BY_NAME, CT_TRACKED, FIELDS
from controller.pipeline.flow import Condition, Match

_ONES = tuple(declared.ones for declared in FIELDS)
_CT_STATE = BY_NAME["ct_state"].index
_CONJ_ID = BY_NAME["conj_id"].index

# No packet meets a policy before the tracker has seen it: what asks for no more than that asks for nothing.
_ALWAYS: Condition = (_CT_STATE, CT_TRACKED, CT_TRACKED)

_Pattern = tuple[tuple[int, int], ...]  # (field index, mask) of each condition


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """What is let through where: of each clause, one match has to hold. A flow is a rule of one clause with one match.

    Rules cover each other only if they have the same `effect`, and not from a later table. A rule without clauses is one of
    which not all is known: it covers nothing and nothing covers it.
    """

    effect: Hashable
    table: int
    clauses: tuple[tuple[Match, ...], ...]


class Cover:
    """An index of rules that answers which of them cover a given one.

    `searches` bounds the work: it is the number of look-ups by one mask in all questions together. When they are used up, the answer
    is that nothing covers the rule.
    """

    def __init__(self, rules: Iterable[Rule], searches: int) -> None:
        self._left = searches
        # Effect -> pattern -> values -> the clauses, (rule, number of the clause), that have such a match.
        self._index: dict[Hashable, dict[_Pattern, dict[tuple[int, ...], list[tuple[Rule, int]]]]] = {}
        for rule in rules:
            patterns = self._index.setdefault(rule.effect, {})
            for number, clause in enumerate(rule.clauses):
                for match in clause:
                    conditions = [condition for condition in match if condition != _ALWAYS]
                    pattern = tuple((index, _ONES[index] if mask is None else mask) for index, _, mask in conditions)
                    values = tuple(value for _, value, _ in conditions)
                    patterns.setdefault(pattern, {}).setdefault(values, []).append((rule, number))

    def of(self, rule: Rule) -> list[Rule]:
        """Return the rules that cover this one, which is not among them unless it is indexed too."""
        held: defaultdict[Rule, set[int]] = defaultdict(set)
        for clause in rule.clauses:
            # A packet of the rule meets one of the clause's matches; which one is not known, so all must imply the same.
            common: set[tuple[Rule, int]] | None = None
            for match in clause:
                found = self._clauses(rule.effect, match)
                common = found if common is None else common & found
                if not common:
                    break
            for covering, number in common or ():
                held[covering].add(number)
        return [
            covering
            for covering, numbers in held.items()
            if len(numbers) == len(covering.clauses) and covering.table <= rule.table
        ]

    def _clauses(self, effect: Hashable, match: Match) -> set[tuple[Rule, int]]:
        """Return the clauses with a match that this one implies."""
        patterns = self._index.get(effect, {})
        self._left -= len(patterns)
        if self._left < 0:
            return set()
        known = {index: (value, _ONES[index] if mask is None else mask) for index, value, mask in match}
        found: set[tuple[Rule, int]] = set()
        for pattern, by_values in patterns.items():
            values = []
            for index, mask in pattern:
                value, looked_at = known.get(index, (0, 0))
                if looked_at & mask != mask:
                    break
                values.append(value & mask)
            else:
                found.update(by_values.get(tuple(values), ()))
        return found


def conjunction_of(match: Match) -> int | None:
    """Return the number of the conjunction that a match asks for, or None."""
    return next((value for index, value, _ in match if index == _CONJ_ID), None)
