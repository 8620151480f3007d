"""Making what a lab has beyond the fabric: routers that are not ours, and a host on the internet, each a namespace.

namespace weft7                               namespace weft7.@public-router            namespace weft7.@internet
  Linux bridge `net0` ── o1 ════════════════════ wire (203.0.113.1)
  Linux bridge `internet` ── i1 ════════════════ internet (198.51.100.10)
                          ── i0 ════════════════════════════════════════════════════════════ eth0 (198.51.100.9)

Where the external network is a VLAN, a namespace between the wire and the router puts the tag on and takes it off.
"""

from __future__ import annotations

from collections.abc import Iterator

from controller.lab.beyond import INTERNET, NOTHING, UpstreamPlan
from controller.lab.namespaces import end, fill_in_checksums, inside, ip, processes_in, set_kernel
from controller.lab.state import State
from controller.lab.trunk import tag_on

_BRIDGE = "internet"
_WIRE, _BEYOND = "eth0", "internet"  # A router's two interfaces.
_TRUNK = "-wire"

# A router outside answers every packet that it cannot send on, however many there are.
_FORWARDING = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/icmp_ratelimit": 0,
    "ipv6/icmp/ratelimit": 0,
    "ipv6/conf/default/accept_ra": 0,
}
_HOST = {"ipv4/ip_forward": 0, "ipv6/conf/default/accept_ra": 0, "ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0}


def keep_up(state: State) -> None:
    """Make what the plan has outside; what there was of another plan goes first."""
    if state.alone or state.outside == state.plan.outside:
        return
    _take_away(state)
    state.outside = state.plan.outside
    if not state.outside.names:
        return
    namespaces = list(_namespaces(state))
    state.namespaces += namespaces
    state.save()
    ip(f"netns add {name}" for name in namespaces)
    home = state.namespace()
    with inside(home):
        ip([f"link add {_BRIDGE} type bridge mcast_snooping 0", f"link set {_BRIDGE} up"])
    _host(state)
    for number, router in enumerate(state.outside.routers.values(), start=1):
        _router(state, number, router)
    state.save()


def _take_away(state: State) -> None:
    namespaces = list(_namespaces(state))
    if not namespaces:
        return
    end(processes_in(namespaces))
    with inside(state.namespace()):
        ip([f"link del {_BRIDGE}", *(f"link del {link}" for link in _links(state))], forced=True)
    ip(f"netns del {name}" for name in namespaces)
    state.namespaces = [name for name in state.namespaces if name not in namespaces]
    state.outside = NOTHING
    state.save()


def _namespaces(state: State) -> Iterator[str]:
    for name in state.outside.names:
        yield state.namespace(name)
        if name != INTERNET and state.outside.routers[name].vlan:
            yield state.namespace(name + _TRUNK)


def _links(state: State) -> Iterator[str]:
    """Yield the ends of wires that are in the lab's own namespace."""
    yield "i0"
    for number in range(1, len(state.outside.routers) + 1):
        yield from (f"i{number}", f"o{number}")


def _host(state: State) -> None:
    there = state.namespace(INTERNET)
    with inside(there):
        set_kernel(_HOST)
    _join(state, f"i0 {_BRIDGE}", INTERNET, "eth0", state.plan.mtu)
    with inside(there):
        fill_in_checksums("eth0")
        ip(["link set lo up", "link set eth0 up", *_addresses(state.outside.addresses, "eth0")])
        ip(f"route replace {prefix} via {via}" for prefix, via in state.outside.routes)


def _router(state: State, number: int, router: UpstreamPlan) -> None:
    wire = f"net{state.plan.physical_networks.index(router.physical_network)}"
    with inside(state.namespace(router.name)):
        set_kernel(_FORWARDING)
    _join(state, f"i{number} {_BRIDGE}", router.name, _BEYOND, state.plan.mtu)
    if router.vlan:
        trunk = router.name + _TRUNK
        with inside(state.namespace(trunk)):
            set_kernel({"ipv6/conf/default/disable_ipv6": 1})
        _join(state, f"o{number} {wire}", trunk, _WIRE, state.plan.mtu)
        with inside(state.namespace(trunk)):
            ip([f"link set {_WIRE} up"])
        tag_on(state.namespace(router.name), state.namespace(trunk), router.vlan)
    else:
        _join(state, f"o{number} {wire}", router.name, _WIRE, state.plan.mtu)
    with inside(state.namespace(router.name)):
        fill_in_checksums(_BEYOND)
        fill_in_checksums(_WIRE)
        ip(
            [
                *(f"link set {link} up" for link in ("lo", _WIRE, _BEYOND)),
                f"link set {_WIRE} mtu {router.mtu}",
                *_addresses(router.addresses, _WIRE),
                *_addresses(router.beyond, _BEYOND),
                *(f"route replace {prefix} via {via}" for prefix, via in router.routes),
            ]
        )


def _join(state: State, far: str, name: str, interface: str, mtu: int) -> None:
    """Lay a wire from a bridge of the lab's own namespace to a namespace outside."""
    end_here, bridge = far.split()
    home, there = state.namespace(), state.namespace(name)
    ip([f"link add {interface} netns {there} mtu {mtu} type veth peer name {end_here} netns {home} mtu {mtu}"])
    with inside(home):
        ip([f"link set {end_here} master {bridge} up"])


def _addresses(addresses: tuple[str, ...], interface: str) -> list[str]:
    return [f"addr add {each} dev {interface}{' nodad' if ':' in each else ''}" for each in addresses]
