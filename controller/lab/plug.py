"""Taking ports of a lab away."""

from __future__ import annotations

from controller.lab.build import switch_of
from controller.lab.namespaces import end, inside, ip, processes_in
from controller.lab.plan import PortPlan
from controller.lab.state import State


def unplug(state: State, port: PortPlan) -> None:
    """Take a plugged port away, with its subports and everything that runs in it."""
    for subport in port.subports(state.plan.ports.values()):
        if subport.name in state.ports:
            unplug(state, subport)
    namespace = state.namespace(*port.name.split("/"))
    if not port.parent and state.plan.hosts[port.host].kind == "ovs":
        switch_of(state, port.host).configure([("--if-exists", "del-port", port.bridge, port.interface)])
    end(processes_in([namespace]))
    if not port.parent:
        # The far end of the wire goes with the namespace; deleting it first makes that certain before we return.
        with inside(state.namespace(port.host)):
            ip([f"link del {port.interface}"], forced=True)
    ip([f"netns del {namespace}"])
    state.ports.remove(port.name)
    state.namespaces.remove(namespace)
    state.save()
