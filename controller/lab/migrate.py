"""Moving a port's interface to another host while the port runs, as a live migration moves a VM.

    hv1  br-int: red.web1 ═══ eth0 ┐                        1  next0 is made, with the addresses of eth0, and is down
                                   ├─ namespace of the port 2  its end is plugged in on hv2, with the iface-id: the port is claimed
    hv2  br-int: red.web1 ═══ next0┘                        3  next0 takes eth0's place: only here the port is away
                                                            4  the old interface is unplugged and removed

That is libvirt's order: the tap of the destination is in its bridge before the VM is resumed there, and the source's goes last.
"""

from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor

from controller.lab.build import port_wire, reachable, switch_of
from controller.lab.namespaces import await_promiscuous, fill_in_checksums, inside, ip, set_kernel
from controller.lab.plan import PortPlan, port_commands
from controller.lab.state import State

_NEXT, _LAST = "next0", "last0"


def migrate(state: State, port: PortPlan, host: str, *, is_source_alive: bool = True) -> float:
    """Move a plugged port to another host that may carry it.

    Args:
        state: The lab's record, which names the port's new host afterwards.
        port: The port where it is; its subports go with it.
        host: Where it goes.
        is_source_alive: Whether the host that it leaves still has a switch to unplug it from.

    Returns:
        For how many seconds the port had no interface.

    Raises:
        LabError: The new interface cannot be made or plugged in; the port stays where it is.
    """
    moved = dataclasses.replace(port, host=host, bridge=state.plan.hosts[host].integration_bridge)
    namespace = state.namespace(*port.name.split("/"))
    try:
        ip([port_wire(state, moved, _NEXT)])
        with inside(namespace):
            _prepare(moved)
        with inside(state.namespace(host)):
            ip([f"link set {moved.interface} up"])
        away = _resume_there(state, moved)
    except BaseException:
        with inside(namespace):
            ip([f"link del {_NEXT}"], forced=True)
        raise
    # What runs for subports stays with the port's `eth0`, whichever that is.
    subports = (
        dataclasses.replace(each, host=host, bridge=moved.bridge) for each in port.subports(state.plan.ports.values())
    )
    there = {each.name: each for each in (moved, *subports)}
    state.plan = dataclasses.replace(state.plan, ports={**state.plan.ports, **there})
    state.save()
    if is_source_alive:
        switch_of(state, port.host).configure([("--if-exists", "del-port", port.bridge, port.interface)])
    with inside(namespace):
        ip([f"link del {_LAST}"])
    return away


def _resume_there(state: State, port: PortPlan) -> float:
    """Plug the new interface in and let it take over; return how long there was none.

    The controller acts once the switch has the interface, and `ovs-vsctl` is done some time after that: packets that go to
    the new host meanwhile would find nobody there.
    """
    with ThreadPoolExecutor(1) as pool:
        plugging = pool.submit(switch_of(state, port.host).configure, port_commands(port))
        await_promiscuous(state.namespace(port.host), port.interface, plugging.done)
        if plugging.done():
            plugging.result()
        with inside(state.namespace(*port.name.split("/"))):
            away = _switch_over(port)
        plugging.result()
    return away


def _prepare(port: PortPlan) -> None:
    """Give the new interface everything but life. A VM that moves does not ask again whether its addresses are free."""
    set_kernel({f"ipv6/conf/{_NEXT}/dad_transmits": 0, f"ipv6/neigh/{_NEXT}/retrans_time_ms": 200})
    fill_in_checksums(_NEXT)
    lines = [f"addr add {address} dev {_NEXT}{' nodad' if ':' in address else ''}" for address in port.addresses]
    ip([f"link set {_NEXT} address {port.mac}", *lines])


def _switch_over(port: PortPlan) -> float:
    """Let the new interface take the place of the old one; return how long there was none."""
    began = time.monotonic()
    ip(
        [
            "link set eth0 down",
            f"link set eth0 name {_LAST}",
            f"link set {_NEXT} name eth0",
            "link set eth0 up",
            *(f"route add default via {gateway} dev eth0" for gateway in reachable(port)),
        ]
    )
    away = time.monotonic() - began
    set_kernel({"ipv6/conf/eth0/dad_transmits": 1})
    return away
