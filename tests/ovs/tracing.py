"""What `ofproto/trace` says, as data: where a packet leaves a switch, how it was changed, and what the tracker is told to keep.

Only the lines "Datapath actions" are read, in the words of the datapath: they are what a kernel or a userspace switch would do, whatever
tables led there. An action that is not known here is an error, so that nothing goes by unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, ip_address
from typing import Any

from controller.model.address import format_mac, parse_mac
from controller.model.entities import NetworkType
from controller.proof import packet as wire
from controller.proof.packet import Packet

_ACTIONS, _RECIRCULATION = "Datapath actions: ", "recirc("
_FORKED, _RESUMED = "-> A clone of the packet is forked to recirculate.", "Resuming from table "
_PORT = re.compile(r"^\s+(\S+) \d+/(\d+):", re.MULTILINE)
_OUTER = re.compile(r"ipv4\(src=([0-9.]+),dst=([0-9.]+)")
_KEYS = (
    (NetworkType.VXLAN, re.compile(r"vxlan\(flags=0x8000000,vni=(0x[0-9a-f]+)\)")),
    (NetworkType.GENEVE, re.compile(r"geneve\((?:crit,)?vni=(0x[0-9a-f]+)\)")),
    (NetworkType.GRE, re.compile(r"gre\(\(flags=0x2000,proto=0x6558\),key=(0x[0-9a-f]+)\)")),
)
_TABLE = re.compile(r"^\s*(\d+)\. ")
_FLOW = re.compile(r"^\s*(\d+)\. .*?priority (\d+), cookie (0x[0-9a-f]+)$")
_BRIDGE = re.compile(r'^\s*bridge\("(.+)"\)$')
_TAGGED = re.compile(r"set_field:(\d+)->vlan_vid|(pop_vlan)")
# What the controller is sent of a packet, through a meter where there is one; nothing becomes of the packet by it.
_TO_CONTROLLER = re.compile(
    r"(sample\(sample=100\.0%,actions\(meter\(\d+\),)?userspace\(pid=\d+,controller\([^()]*\)\)(\)\))?"
)
_TARGET_PORT = re.compile(r"^Flow: .*\btp_dst=(\d+)", re.MULTILINE)
_WITH_PORTS = ("tcp", "udp", "sctp")
_PASSING = ("ct_clear", "meter")
Changes = tuple[tuple[str, str], ...]  # Of headers, in the words of the datapath's actions.


@dataclass(frozen=True, slots=True)
class Encapsulation:
    """The tunnel that a packet is put into."""

    kind: NetworkType
    key: int
    src: IPv4Address
    dst: IPv4Address


@dataclass(frozen=True, slots=True)
class Exit:
    """One copy that leaves the datapath: by which port, with which tag, in which tunnel, and what was written into it."""

    interface: str
    vlan: int | None
    tunnel: Encapsulation | None
    changes: Changes


@dataclass(frozen=True, slots=True)
class Commit:
    """What the tracker is told to keep: (value, mask) of mark and label; `turns` says that the packet is the opener from now on."""

    zone: int
    mark: tuple[int, int]
    label: tuple[int, int]
    turns: bool


@dataclass(slots=True)
class Outcome:
    """All that a trace leads to on one host."""

    exits: list[Exit] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    zones: set[int] = field(default_factory=set)  # Where the packet is looked up.


@dataclass(slots=True)
class _Copy:
    """The packet as it is at one point of a list of actions."""

    vlan: int | None
    port: str | None = None  # The target port that it came with.
    tunnel: Encapsulation | None = None
    changes: dict[str, str] = field(default_factory=dict)

    def again(self) -> _Copy:
        return replace(self, changes=dict(self.changes))


class UnknownAction(ValueError):
    """The datapath does something that this reader has not been told of."""


def ports(show: str) -> dict[int, str]:
    """Return the names of a datapath's ports by number, from what `dpif/show` prints."""
    return {int(number): name for name, number in _PORT.findall(show)}


def read(text: str, names: dict[int, str], vlan: int | None = None) -> Outcome:
    """Return what a whole trace, with all its recirculations, leads to; `vlan` is the tag that the packet came with."""
    outcome = Outcome()
    port = _TARGET_PORT.search(text)
    copies = {"": _Copy(vlan, port and port[1])}
    resumed = ""
    for line in text.splitlines():
        if line.startswith(_RECIRCULATION):
            resumed = line.partition(" ")[0]
        elif line.startswith(_ACTIONS):
            _follow(line.removeprefix(_ACTIONS), names, copies[resumed].again(), outcome, copies)
    return outcome


def _follow(actions: str, names: dict[int, str], copy: _Copy, outcome: Outcome, frozen: dict[str, _Copy]) -> None:
    """Do what a list of actions says; a packet that recirculates goes on later as what it is then."""
    for action in _split(actions):
        name, _, inside = action.partition("(")
        inside = inside[:-1]
        if action.isdigit():
            changes = tuple(sorted(copy.changes.items()))
            outcome.exits.append(Exit(names[int(action)], copy.vlan, copy.tunnel, changes))
        elif name == "ct":
            _track(inside, outcome)
        elif name == "set":
            header, _, fields = inside.partition("(")
            for each in _split(fields[:-1]):
                key, _, value = each.partition("=")
                if (header, key, value) in ((protocol, "dst", copy.port) for protocol in _WITH_PORTS):
                    # An answer's ports change places while it is judged. Only if it is sampled meanwhile the datapath hears of it.
                    copy.changes.pop(f"{header}.{key}", None)
                else:
                    copy.changes[f"{header}.{key}"] = value
        elif name == "push_vlan":
            copy.vlan = int(re.findall(r"vid=(\d+)", inside)[0])
        elif action == "pop_vlan":
            copy.vlan = None
        elif name == "tnl_push":
            copy.tunnel = _encapsulation(inside)
        elif name == "clone":
            _follow(inside, names, copy.again(), outcome, frozen)
        elif name == "check_pkt_len":
            # The packet of a trace is a short one.
            fits = next(part for part in _split(inside) if part.startswith("le("))
            _follow(fits.removeprefix("le(").removesuffix(")"), names, copy, outcome, frozen)
        elif name == "recirc":
            frozen[action] = copy.again()
        elif action != "drop" and name not in _PASSING and not _TO_CONTROLLER.fullmatch(action):
            raise UnknownAction(action)


def _track(inside: str, outcome: Outcome) -> None:
    """Note a commit or a look-up, which leaves nothing behind."""
    words = {key: value for key, _, value in (part.partition("=") for part in _split(inside))}
    if "commit" in words or "force_commit" in words:
        mark, label = _masked(words.get("mark"), 32), _masked(words.get("label"), 128)
        outcome.commits.append(Commit(int(words.get("zone", "0")), mark, label, "force_commit" in words))
    else:
        outcome.zones.add(int(words.get("zone", "0")))


def _masked(text: str | None, bits: int) -> tuple[int, int]:
    if text is None:
        return 0, 0
    value, slash, mask = text.partition("/")
    return int(value, 16), int(mask, 16) if slash else (1 << bits) - 1


def _encapsulation(text: str) -> Encapsulation:
    """Return the tunnel of a `tnl_push`; one with flags that Weft never asks for is an error."""
    ends = _OUTER.search(text)
    for kind, pattern in _KEYS:
        found = pattern.search(text)
        if found and ends:
            return Encapsulation(kind, int(found[1], 16), IPv4Address(ends[1]), IPv4Address(ends[2]))
    raise UnknownAction(text)


def _split(text: str) -> Iterator[str]:
    """Yield the parts between the commas that stand in no brackets."""
    depth = start = 0
    for place, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and not depth:
            yield text[start:place]
            start = place + 1
    if text:
        yield text[start:]


def entering(text: str, vlan: int | None) -> int | None:
    """Return the tag that a packet bears after the first bridge of a trace, which it came to with `vlan`."""
    for pushed, popped in _TAGGED.findall(text):
        vlan = None if popped else int(pushed) & 0xFFF
    return vlan


def visited(text: str) -> Iterator[tuple[str, int, int | None]]:
    """Yield the bridge, the table and the cookie of every look-up of a trace; None where nothing was found."""
    bridge = tracking = ""
    for line in text.splitlines():
        if 'bridge("' in line and (at := _BRIDGE.match(line)):
            bridge = at[1]
            continue
        # A packet goes on where it was tracked, though the trace calls that the bridge of the port that it came in by.
        if _FORKED in line:
            tracking = bridge
        elif _RESUMED in line:
            bridge = tracking
        flow = _FLOW.match(line)
        if flow:
            yield bridge, int(flow[1]), int(flow[3], 16)
        elif table := _TABLE.match(line):
            yield bridge, int(table[1]), None


_ICMP = {4: wire.ICMP, 6: wire.ICMPV6}
_WRITTEN: dict[str, tuple[str, Callable[[str], Any]]] = {
    "eth.src": ("eth_src", parse_mac),
    "eth.dst": ("eth_dst", parse_mac),
    "ipv4.src": ("src", ip_address),
    "ipv4.dst": ("dst", ip_address),
    "ipv4.ttl": ("ttl", int),
    "ipv6.src": ("src", ip_address),
    "ipv6.dst": ("dst", ip_address),
    "ipv6.hlimit": ("ttl", int),
}
_ETHERTYPES = {wire.IPV4: "ip", wire.IPV6: "ipv6", wire.ARP: "arp"}
_PROTOCOLS = {
    (4, wire.ICMP): "icmp",
    (4, wire.TCP): "tcp",
    (4, wire.UDP): "udp",
    (4, wire.SCTP): "sctp",
    (6, wire.ICMPV6): "icmp6",
    (6, wire.TCP): "tcp6",
    (6, wire.UDP): "udp6",
    (6, wire.SCTP): "sctp6",
}


def flow_text(packet: Packet, fragment: str = "no") -> str:
    """Return a packet in the syntax of ovs-ofctl(8), as `ofproto/trace` takes it; `fragment` is `no`, `first` or `later`."""
    parts = [f"dl_src={format_mac(packet.eth_src)},dl_dst={format_mac(packet.eth_dst)}"]
    version = packet.version
    if version is None:
        parts.insert(0, _ETHERTYPES.get(packet.eth_type, f"dl_type={packet.eth_type:#06x}"))
        if packet.eth_type == wire.ARP:
            parts.append(f"arp_op={packet.arp_op},arp_spa={packet.src},arp_tpa={packet.dst}")
            parts.append(f"arp_sha={format_mac(packet.hardware or 0)}")
        return ",".join(parts)
    assert packet.protocol is not None
    short = _PROTOCOLS.get((version, packet.protocol))
    parts.insert(0, short or _ETHERTYPES[packet.eth_type])
    if short is None:
        parts.append(f"nw_proto={packet.protocol}")
    field_ = "nw" if version == 4 else "ipv6"
    parts.append(
        f"{field_}_src={packet.src},{field_}_dst={packet.dst},nw_ttl={time_to_live(packet)},nw_frag={fragment}"
    )
    if short is not None and fragment != "later":
        parts.append(_upper(packet))
    return ",".join(parts)


def _upper(packet: Packet) -> str:
    if packet.protocol in wire.WITH_PORTS:
        name = {wire.TCP: "tcp", wire.UDP: "udp", wire.SCTP: "sctp"}[packet.protocol]
        return f"{name}_src={packet.sport},{name}_dst={packet.dport}"
    name = "icmp" if packet.version == 4 else "icmpv6"
    text = f"{name}_type={packet.icmp_type},{name}_code={packet.icmp_code}"
    if packet.target is None:
        return text
    text += f",nd_target={packet.target}"
    if packet.hardware is not None:
        option = "nd_sll" if packet.icmp_type == wire.NEIGHBOUR_SOLICITATION else "nd_tll"
        text += f",{option}={format_mac(packet.hardware)}"
    return text


def written_already(packet: Packet) -> dict[str, str]:
    """Return what a packet's headers hold, in the words of the datapath's actions: to write that once more changes nothing."""
    found = {"eth.src": format_mac(packet.eth_src), "eth.dst": format_mac(packet.eth_dst)}
    if packet.eth_type == wire.ARP:
        found |= {"arp.sip": str(packet.src), "arp.tip": str(packet.dst), "arp.op": str(packet.arp_op)}
        return found | {"arp.sha": format_mac(packet.hardware or 0), "arp.tha": format_mac(0)}
    if packet.version is not None:
        ends = {"src": packet.src, "dst": packet.dst, "ttl" if packet.version == 4 else "hlimit": time_to_live(packet)}
        found |= {f"ipv{packet.version}.{key}": str(value) for key, value in ends.items()}
    if packet.protocol == _ICMP.get(packet.version or 0):
        name = "icmp" if packet.version == 4 else "icmpv6"
        found |= {f"{name}.type": str(packet.icmp_type), f"{name}.code": str(packet.icmp_code)}
    return found


def changes_between(sent: Packet, seen: Packet) -> Changes:
    """Return what has to be written into a packet's headers so that it is another one."""
    return differing(written_already(sent), written_already(seen))


def differing(before: Mapping[str, str], after: Mapping[str, str]) -> Changes:
    """Return what stands in some headers that did not stand there before."""
    return tuple(sorted((key, value) for key, value in after.items() if before.get(key) != value))


def rewritten(packet: Packet, changes: Changes) -> Packet:
    """Return the packet with what was written into its headers; raise UnknownAction for what no router writes there."""
    written: dict[str, Any] = {}
    for key, value in changes:
        if key not in _WRITTEN:
            raise UnknownAction(f"{key}={value}")
        name, parsed = _WRITTEN[key]
        written[name] = parsed(value)
    return replace(packet, **written) if written else packet


def time_to_live(packet: Packet) -> int:
    """Return what IP says of a packet's time to live; neighbours believe what cannot have passed a router (RFC 4861, section 6.1.1)."""
    return 255 if packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED else packet.ttl
