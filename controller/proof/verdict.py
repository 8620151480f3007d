"""What the groups of a packet's two ends say of it: each side by itself, then both.

A side that no group filters is open. Of any other side the first line that fits decides:

| the side's rules | |
|---|---|
| an enforced rule covers the packet | passes |
| a rule that is not enforced covers it | passes, and would be dropped |
| none covers it, and the port has groups of which none is enforced | passes, and would be dropped |
| none covers it | dropped |

A side is stateless if the port has groups and all of them are. It knows no connections: its rules judge answers as they judge
everything else, and a later fragment without ports and ICMP type, which such a fragment does not carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from controller.model.entities import Address, Direction, Place, Port, Range, Rule
from controller.proof.packet import ECHO
from controller.proof.rules import ALL_NUMBERS, Rulebook, Span, Traffic, common, first_closed, rule_text, spans


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a packet arrives, why in one sentence, and the rule and place that decide.

    `would_drop`: it arrives only because rules, or whole groups, at one end or the other are not enforced.
    """

    allowed: bool
    reason: str
    rule: Rule | None = None
    place: Place | None = None
    would_drop: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """A pair of addresses by which one port speaks to another: None where the files name no address.

    `source` or `target` None means that the address is beyond what the files say: on a physical network, or outside. Where a router
    translates addresses, `seen` is the source and the destination as the target sees them. `router` is the one whose own address the
    destination is: it answers pings, and nothing else. `refusal` is why what goes this way is lost, where several ways share what is sent.
    """

    source: Port | None
    target: Port | None
    version: int
    src: Address | None
    dst: Address | None
    seen: tuple[Address, Address] | None = None
    router: str | None = None
    refusal: str | None = None

    @property
    def back(self) -> Way:
        """The way that answers take."""
        if self.seen is None or self.src is None or self.dst is None:
            return Way(self.target, self.source, self.version, self.dst, self.src)
        src, dst = self.seen
        return Way(self.target, self.source, self.version, dst, src, seen=(self.dst, self.src))


@dataclass(frozen=True, slots=True)
class Side:
    """One port that judges a packet, in the direction that it has there, with the address at the other end."""

    port: Port
    direction: Direction
    far: Address | None


def best(decisions: Iterable[Decision]) -> Decision:
    """Return the first decision that allows, rather one that enforcement would not change; without any, the first."""
    ranked = sorted(decisions, key=lambda decision: (not decision.allowed, decision.would_drop))
    return ranked[0]


def overall(ways: Sequence[Way], decisions: Sequence[Decision]) -> Decision:
    """Return the decision of the best pair of addresses; of the ways that share what one pair sends, the worst counts."""
    shared: dict[tuple[str | None, Address | None, Address | None, int], list[Decision]] = {}
    for way, decision in zip(ways, decisions, strict=True):
        sender = None if way.source is None else way.source.name
        shared.setdefault((sender, way.src, way.dst, way.version), []).append(decision)
    return best(best(each) if len(each) == 1 else _worst(each) for each in shared.values())


def _worst(decisions: Iterable[Decision]) -> Decision:
    return min(decisions, key=lambda decision: (decision.allowed, not decision.would_drop))


class Judge:
    """Asks the groups of both ends. `is_guarded` says of a port whether its groups are enforced where it is."""

    def __init__(self, rules: Rulebook, is_guarded: Callable[[Port], bool]) -> None:
        self._rules = rules
        self._is_guarded = is_guarded

    def is_stateless(self, port: Port) -> bool:
        """Return whether the port's own groups judge every packet by itself."""
        return self._is_guarded(port) and self._rules.is_stateless(port.groups)

    def tracks(self, port: Port) -> bool:
        """Return whether the port's connections are tracked, so that what opens none is dropped there."""
        return self._is_guarded(port) and not self._rules.is_stateless(port.groups)

    def open_spans(self, way: Way) -> list[Span]:
        """Return everything that the groups of both ends let pass, enforced or not."""
        if way.refusal is not None:
            return []
        found = [Span(None, ALL_NUMBERS)]
        if way.router is not None:
            protocol, kind = ECHO[way.version]
            found = [Span(protocol, Range(kind * 256, kind * 256))]
        for side in _sides(way):
            if not self._is_open(side) and not self._rules.is_dry(side.port.groups):
                found = common(found, spans(self._applying(side, way.version)))
        return found

    def packet(self, way: Way, traffic: Traffic, *, leaves_always: bool = False) -> Decision:
        """Return what both ends say of what opens a connection; `leaves_always` takes the sender's side for granted."""
        if way.refusal is not None:
            return Decision(False, f"no path: {way.refusal}", None, way.source.place if way.source else None)
        if way.router is not None and not _is_echo(traffic):
            reason = f"router {way.router} answers nothing but pings at its own address {way.dst}"
            return Decision(False, reason, None, way.source.place if way.source else None)
        sides = [side for side in _sides(way) if not (leaves_always and side.direction is Direction.EGRESS)]
        return self._all(way, [side for side in sides if not self._is_open(side)], traffic)

    def answer(self, way: Way, traffic: Traffic | None, ports: Range | None = None) -> Decision:
        """Return whether what answers a packet of this way passes, `None` being none that anything answers.

        A connection's answers pass where it is tracked. Where it is not, the rules decide; `ports` are those that the answer may go to.
        """
        sides = [side for side in _sides(way.back) if self.is_stateless(side.port)]
        if traffic is None:
            return Decision(False, "nothing answers this")
        if not sides or way.router is not None:
            return Decision(True, "answers of what passed pass as well")
        if ports is not None:
            closed = (first_closed(self._spans_of(side, way.version), traffic.protocol, ports) for side in sides)
            traffic = replace(traffic, port=next((port for port in closed if port is not None), ports.first))
        found = self._all(way.back, sides, traffic)
        return replace(found, reason=f"{'the answer' if found.allowed else 'no answer'}: {found.reason}")

    def _all(self, way: Way, sides: Iterable[Side], traffic: Traffic) -> Decision:
        """Return what all these sides say together."""
        whence = way.source.name if way.source else way.src
        decision = Decision(True, f"neither end of {whence} to {way.dst} is under a group's rules")
        for side in sides:
            found = self._one(side, traffic)
            if not found.allowed:
                return found
            if not decision.would_drop:
                decision = found
        return decision

    def _one(self, side: Side, traffic: Traffic) -> Decision:
        port, direction, groups = side.port, side.direction, side.port.groups
        if traffic.later_fragment and not self._rules.is_stateless(groups):
            # Where connections are tracked, a fragment shares the fate of its first.
            traffic = replace(traffic, later_fragment=False)
        dry: tuple[str, Rule] | None = None
        for group, rule in self._rules.allowing(port, direction, side.far, traffic):
            if rule.enforce:
                reason = f"{direction} of {port.name}: group {group} {rule_text(rule)} ({rule.place})"
                return Decision(True, reason, rule, rule.place)
            dry = dry or (group, rule)
        if dry is not None:
            group, rule = dry
            reason = f"{direction} of {port.name}: group {group} {rule_text(rule)} is not enforced ({rule.place})"
            return Decision(True, f"would drop, but {reason}", rule, rule.place, would_drop=True)
        refusal = _refusal(side, traffic)
        if self._rules.is_dry(groups):
            reason = f"would drop, but {', '.join(groups)} is not enforced: {refusal}"
            return Decision(True, reason, None, port.place, would_drop=True)
        return Decision(False, refusal, None, port.place)

    def _is_open(self, side: Side) -> bool:
        return not self._is_guarded(side.port) or (not side.port.groups and side.direction is Direction.EGRESS)

    def _applying(self, side: Side, version: int) -> Iterable[Rule]:
        return self._rules.applying(side.port, side.direction, side.far, version)

    def _spans_of(self, side: Side, version: int) -> Iterable[Span]:
        if self._rules.is_dry(side.port.groups):
            return [Span(None, ALL_NUMBERS)]
        return spans(self._applying(side, version))


def _sides(way: Way) -> list[Side]:
    """Return who judges a packet."""
    sides: list[Side] = []
    if way.source is not None:
        sides.append(Side(way.source, Direction.EGRESS, way.dst))
    if way.target is not None:
        sides.append(Side(way.target, Direction.INGRESS, way.src if way.seen is None else way.seen[0]))
    return sides


def _is_echo(traffic: Traffic) -> bool:
    return (traffic.protocol, traffic.icmp_type) == ECHO[traffic.version] and traffic.icmp_code in (0, None)


def _refusal(side: Side, traffic: Traffic) -> str:
    port, direction, far = side.port, side.direction, side.far
    groups = f"no rule of {', '.join(port.groups)}" if port.groups else "no group, so nothing"
    word = "from" if direction is Direction.INGRESS else "to"
    return f"{direction} default deny of {port.name}: {groups} allows {traffic} {word} {far or 'anyone'} ({port.place})"
