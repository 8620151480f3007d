"""A host that fails, as by a power failure, and one that comes back."""

from __future__ import annotations

from controller.lab.build import carry_underlay, introduce, links_of, switch_of
from controller.lab.limits import start_limits
from controller.lab.namespaces import inside, ip, kill
from controller.lab.state import State


def fail_host(state: State, host: str) -> None:
    """Cut a host's wires and end its switch without a word: neither its peers nor the controller hear of it."""
    planned, namespace = state.plan.hosts[host], state.namespace(host)
    with inside(namespace):
        ip(f"link set {link} down" for link in links_of(planned))
    kill(process for process in state.processes if process.what.endswith(f" of {namespace}"))


def recover_host(state: State, host: str) -> None:
    """Bring a host back with the database it had; interfaces of ports that have moved meanwhile are removed, as hypervisors do."""
    planned, namespace = state.plan.hosts[host], state.namespace(host)
    switch = switch_of(state, host)
    state.processes = [each for each in state.processes if not each.what.endswith(f" of {namespace}")]
    state.processes += switch.start_again()
    state.processes.append(start_limits(state, host))
    state.save()
    with inside(namespace):
        ip(f"link set {link} up" for link in links_of(planned))
    moved = [port for port in state.plan.ports.values() if port.host != host and host in port.carriers]
    if moved:
        switch.configure(("--if-exists", "del-port", planned.integration_bridge, port.interface) for port in moved)
    carry_underlay(state, planned)
    introduce(state)


def is_failed(state: State, host: str) -> bool:
    """Whether a host has a switch and a part of it is dead."""
    namespace = state.namespace(host)
    return any(not each.is_alive for each in state.processes if each.what.endswith(f" of {namespace}"))
