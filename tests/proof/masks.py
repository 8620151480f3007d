"""Masks of the datapath: how many a hostile sender can make one port's rules cost.

A datapath looks a packet up once for each mask that its megaflows have, and a packet that no megaflow matches adds one with
just those bits that told it apart: "tuple space explosion" (doi 10.1145/3359989.3365431). `Scales` holds a switch that
gets the flows of one shape of rules after another, is sent what `tests.proof.hostile` thinks of, and is then asked what it holds.

The switch itself says how many masks its classifiers have. The text of its megaflows does not: it leaves out what a megaflow looks at
in fields that its packets do not have, such as the tracker's addresses for IP protocol 0, and so tells one mask as two, or two as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Self

from controller.model.entities import Direction, SecurityGroup, Topology
from controller.model.names import interface_name
from controller.pipeline.compile import compile_fabric
from tests.builders import fabric, group, host, network, port
from tests.ovs.fabric import FabricTwin
from tests.ovs.twin import AT_ONCE, Twin
from tests.proof.hostile import Hostile
from tests.proof.shapes import SHAPES

HOST, NEAR, FAR = "hv1", "red/near", "red/far"
PAIRS = 1000
_HOUR = "3600000"  # In milliseconds. Longer than any test, so that nothing has gone when it is counted.
_MEMBERS = 8
_TRIES = 8

# Fields that are the same in a mask, whatever the text calls their protocol.
_SAME = {
    "tcp": "transport",
    "udp": "transport",
    "sctp": "transport",
    "icmpv6": "icmp",
    "hlimit": "ttl",
    "src_port": "tp_src",
    "dst_port": "tp_dst",
    "tclass": "tos",
}
_BY_VERSION = {"ipv4": "ip", "ipv6": "ip", "ct_tuple4": "ct_tuple", "ct_tuple6": "ct_tuple"}
_ADDRESSES = {"src", "dst"}  # What the two versions of IP do not have in common.
_COUNT = re.compile(r", packets:(\d+)")
# The implementations of a classifier's tables, each with how many tables use it; the command's name differs by version.
_TABLES, _USED = re.compile(r"dpif-netdev/subtable-lookup-(?:info|prio)-get"), re.compile(r"Use count: (\d+)")
_NOTHING = re.compile("[0x.:]*")  # A mask without a bit, of whatever kind of field.
_KEY = re.compile(r"([a-z0-9_]+)\(((?:[^()]|\([^()]*\))*)\)")


class Cost(NamedTuple):
    """What the packets of one direction left in the datapath."""

    masks: int
    megaflows: int


class Costs(NamedTuple):
    """What a port costs when it sends, and when it is sent to."""

    egress: Cost
    ingress: Cost

    @property
    def masks(self) -> int:
        """The masks of the worse direction: a packet is looked up in those of its own way in alone."""
        return max(self.egress.masks, self.ingress.masks)


def crowd(groups: Iterable[SecurityGroup]) -> Topology:
    """One host with the port that is measured, a port that may send anything, and members of all groups.

    The port is in all groups that have rules; those without are there to be named by others.
    """
    known = list(groups)
    of = [each.name for each in known if each.ingress or each.name not in _named(known)]
    members = [
        port(
            *(f"red/m{number}", "red/n", f"10.0.0.{16 + number}", f"fd00::{16 + number:x}"),
            host=HOST,
            groups=[known[number % len(known)].name] if known else [],
        )
        for number in range(_MEMBERS)
    ]
    near = port(NEAR, "red/n", "10.0.0.1", "fd00::1", host=HOST, groups=of)
    far = port(FAR, "red/n", "10.0.0.2", "fd00::2", host=HOST, secure=False)
    return fabric(host(HOST), network("red/n", "10.0.0.0/24", "fd00::/64"), *known, near, far, *members)


def _named(groups: Iterable[SecurityGroup]) -> set[str]:
    return {name for each in groups for rule in (*each.ingress, *each.egress) for name in rule.groups}


class Scales:
    """A running switch on which one shape after another is weighed."""

    def __init__(self, directory: Path) -> None:
        self._fabric = FabricTwin(directory, crowd([group("red/any")]))

    def __enter__(self) -> Self:
        self._fabric.__enter__()
        settings = (f"other_config:max-idle={_HOUR}", "other_config:max-revalidator=100")
        self.twin.configure(["set", "open_vswitch", ".", *settings])
        self.twin.settle()  # The first time this changes the switch, so that it looks through its megaflows.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._fabric.__exit__(kind, error, trace)

    @property
    def twin(self) -> Twin:
        """The switch."""
        return self._fabric.hosts[HOST]

    def weigh(self, topology: Topology, pairs: int = PAIRS) -> Costs:
        """Return what hostile packets make the port NEAR of a `crowd` cost."""
        self.load(topology)
        egress = self.cost(NEAR, Hostile(topology, NEAR, FAR, Direction.EGRESS).frames(pairs))
        return Costs(egress, self.cost(FAR, Hostile(topology, NEAR, FAR, Direction.INGRESS).frames(pairs)))

    def load(self, topology: Topology) -> None:
        """Give the switch the flows of a `crowd`, and wait until it has compared its megaflows with them."""
        self._fabric.load(compile_fabric(topology, bindings=self._fabric.bindings))
        for _ in range(2):
            self.twin.control.call("revalidator/wait")

    def cost(self, source: str, frames: Iterable[bytes]) -> Cost:
        """Return what the datapath holds after a port has sent these frames and nobody anything else."""
        sent = list(frames)
        for _ in range(_TRIES):
            self._send(interface_name(source), sent)
            masks, held = self._masks(), self.megaflows()
            # Every frame made a megaflow of the first pass or was counted by one. If one is missing, the machine's own interfaces
            # have changed meanwhile: the switch then looks through its megaflows, and takes some for outdated, or all.
            counted = sum(1 + int(_COUNT.findall(line)[0]) for line in held if "recirc_id(0)," in line)
            if counted == len(sent) and masks == self._masks():
                return Cost(masks, len(held))
        raise AssertionError(f"{counted} of {len(sent)} frames are in the megaflows")

    def _masks(self) -> int:
        """Return how many masks the classifiers of all ports have now, but for that of the frames by which the test waits."""
        control = self.twin.control
        command = _TABLES.search(control.call("list-commands"))
        assert command is not None, "this Open vSwitch does not tell how many masks it has"
        return sum(map(int, _USED.findall(control.call(command[0])))) - 1

    def _send(self, interface: str, frames: list[bytes]) -> None:
        """Let an empty datapath take these frames."""
        self.twin.flush_conntrack()
        for _ in range(_TRIES):
            # What has just come to be may be left out once, as the switch knows it a moment after its datapath.
            self.twin.control.call("revalidator/purge")
            if not self.megaflows():
                break
            self.twin.control.call("revalidator/wait")
        else:
            raise AssertionError("the datapath is not empty before a measurement")
        for first in range(0, len(frames), AT_ONCE):
            self.twin.inject(interface, *frames[first : first + AT_ONCE])
            self.twin.settle()

    def megaflows(self) -> list[str]:
        """Return the megaflows that the datapath holds, but for those of the frames by which the test waits."""
        lines = self.twin.control.call("dpctl/dump-flows", "-m").splitlines()
        return [line for line in lines if line.startswith("ufid:") and "in_port(sentinel" not in line]


def mask(megaflow: str) -> frozenset[str]:
    """Return what a megaflow looks at, without what it looks for.

    >>> sorted(mask("ufid:1, recirc_id(0x1),in_port(a),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0,frag=no),udp(src=0/0x8000), packets:0"))
    ['eth_type', 'in_port', 'ip.frag', 'ipv4.dst/255.0.0.0', 'recirc_id', 'transport.src/0x8000']
    """
    found = set()
    for name, inside in _KEY.findall(megaflow.partition(", packets:")[0].partition(", ")[2]):
        for part in inside.split(",") if "=" in inside else [inside]:
            field, _, value = part.rpartition("=")
            looked_at = _looked_at(value)
            if looked_at is None:
                continue
            shared = _BY_VERSION.get(name) if field not in _ADDRESSES else None
            group = shared or _SAME.get(name, name)
            found.add(f"{group}{'.' if field else ''}{_SAME.get(field, field)}{looked_at}")
    return frozenset(found)


def _looked_at(value: str) -> str | None:
    """Return the mask in a value's text, "" for all of it and None for nothing."""
    if value[:1] in "+-":
        return "/" + re.sub("[+-]", "|", value)
    _, slash, bits = value.partition("/")
    return None if slash and _NOTHING.fullmatch(bits) else slash + bits


def print_table() -> None:
    """Print what every shape costs, as the documents show it."""
    print("| rules of one port | masks out | in | megaflows out | in |\n|---|--:|--:|--:|--:|")
    with TemporaryDirectory() as directory, Scales(Path(directory)) as scales:
        for name, make in SHAPES.items():
            out, into = scales.weigh(crowd(make()))
            print(f"| {name} | {out.masks} | {into.masks} | {out.megaflows:,} | {into.megaflows:,} |", flush=True)


if __name__ == "__main__":
    print_table()
