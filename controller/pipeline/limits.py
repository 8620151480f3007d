"""What cannot be told to a switch is refused before it is in force: too long flows, and names that share a number.

A bridge serves all tenants of a host. One flow that a switch cannot take would keep it from everything else that is new,
so the files that ask for it are refused, and what is in force stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controller.graph.fabric import Fabric
from controller.model.entities import Network, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import FIELDS
from controller.pipeline.flow import Action, Flow, Group, Output, Program, Resubmit, SetField, Uncompilable
from controller.pipeline.view import class_key, class_name

_LONGEST = 0xFFFF  # bytes of an OpenFlow message
_HEADS = 256  # A bundle's header, a flow-mod's, its longest match here and an instruction's take less.
_FEW = 1000  # So many actions fit, whatever they are.
_SHORT, _BUCKET, _OTHER = 16, 16, 48


class TooLong(Uncompilable):
    """A flow or group has more actions than OpenFlow has bytes for."""


class SharedNumber(Uncompilable):
    """Two names have the same hash, and flows of one would be taken for flows of the other."""


def check_length(programs: Iterable[Program]) -> None:
    """Raise TooLong if a flow or group of these programs does not fit one message."""
    for program in programs:
        for flow in program.flows.values():
            if len(flow.actions) > _FEW:
                _check(program, flow, _size(flow.actions))
        for group in program.groups.values():
            if len(group.buckets) > _FEW // 4:
                _check(program, group, sum(_BUCKET + _size(bucket) for bucket in group.buckets))


def _check(program: Program, subject: Flow | Group, size: int) -> None:
    if size > _LONGEST - _HEADS:
        raise TooLong(
            f"{subject.origin}: a packet to everybody needs {size:,} bytes of actions in {program.bridge} on {program.host}, "
            f"and OpenFlow takes {_LONGEST:,}; spread its ports over more networks"
        )


def _size(actions: Iterable[Action]) -> int:
    """Return the bytes that actions take at most."""
    total = 0
    for action in actions:
        match action:
            case Output() | Resubmit():
                total += _SHORT
            case SetField(index, _, None):
                total += 8 + -(-FIELDS[index].bits // 64) * 8
            case _:
                total += _OTHER
    return total


def check_keys(fabric: Fabric) -> None:
    """Raise SharedNumber if two address spaces or two classes of ports have one number; files tell of other names."""
    topology = fabric.topology
    classes = {frozenset(port.groups) for port in topology.ports.values() if port.groups} | fabric.combinations
    _distinct("address spaces", {name: key("space", name) for name in fabric.spaces.values()}, topology.networks)
    _distinct("security groups", {class_name(groups): class_key(groups) for groups in classes}, topology.groups)


def _distinct(kind: str, numbers: Mapping[str, int], declared: Mapping[str, Network | SecurityGroup]) -> None:
    owners: dict[int, str] = {}
    for name, number in numbers.items():
        other = owners.setdefault(number, name)
        if other != name:
            # A class is named by its groups, of which one is enough to find it.
            places = ", ".join(str(declared[each.partition(",")[0]].place) for each in (other, name))
            raise SharedNumber(f"the {kind} {other} and {name} share the number {number:#x}: rename one ({places})")
