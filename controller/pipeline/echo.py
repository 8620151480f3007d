"""The answer to a ping, made of the question by a switch alone."""

from __future__ import annotations

from collections.abc import Iterator

from controller.pipeline.fields import BY_NAME, ETH_IPV4, ETH_IPV6, PROTO_ICMP, PROTO_ICMPV6
from controller.pipeline.flow import Action, Move, Wanted, move, set_field

# What addresses are kept in meanwhile: registers of policy, which has no use for them in an answer.
KEPT = ("reg8", "reg9", "reg10", "reg11")
MATCHES = ("eth_type", "ip_proto", "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code")
WRITES = (
    *("eth_src", "eth_dst", "ip_src", "ip_dst", "ipv6_src", "ipv6_dst"),
    *(*KEPT, "icmp_type", "icmpv6_type", "nw_ttl"),
)
_ADDRESSES = {ETH_IPV4: ("ip_src", "ip_dst"), ETH_IPV6: ("ipv6_src", "ipv6_dst")}
_TTL = 64

# Ethertype, protocol, the field of the type, that of the code, the question and the answer (RFC 792, RFC 4443).
_PINGS = (
    (ETH_IPV4, PROTO_ICMP, "icmp_type", "icmp_code", 8, 0),
    (ETH_IPV6, PROTO_ICMPV6, "icmpv6_type", "icmpv6_code", 128, 129),
)


def pings() -> Iterator[tuple[dict[str, Wanted], list[Action]]]:
    """Yield for each version of IP what a ping is, and the actions that make it the answer; it has still to be sent."""
    for ethertype, protocol, kind, code, question, answer in _PINGS:
        asked: dict[str, Wanted] = {"eth_type": ethertype, "ip_proto": protocol, kind: question, code: 0}
        turned = [*_swapped("eth_src", "eth_dst"), *_swapped(*_ADDRESSES[ethertype])]
        yield asked, [*turned, set_field(kind, answer), set_field("nw_ttl", _TTL)]


def _swapped(source: str, target: str) -> Iterator[Action]:
    """Yield the actions that exchange two fields."""
    first, second = BY_NAME[source], BY_NAME[target]
    pieces = [(at, min(32, first.bits - at)) for at in range(0, first.bits, 32)]
    kept = [BY_NAME[name].index for name in KEPT]
    for register, (at, bits) in zip(kept, pieces, strict=False):
        yield Move(first.index, register, bits, at)
    yield move(target, source)
    for register, (at, bits) in zip(kept, pieces, strict=False):
        yield Move(register, second.index, bits, 0, at)
