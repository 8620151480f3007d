"""What hosts without a wire have to know of a network there grows with its ports, and a change of one port is a change of one flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.graph.fabric import Fabric
from controller.model.entities import Topology
from controller.pipeline.compile import assumed_bindings, compile_fabric
from controller.pipeline.flow import Delta
from controller.pipeline.programs import Programs
from tests.builders import Entity, allow, fabric, group, host, network, physical_network, port, router
from tests.pipeline.counted import computations
from tests.pipeline.world import same

WIRED = ("hv2", "hv3")
Change = Callable[[Topology], Topology]


def topology(ports: int = 20, without: int = 2) -> Topology:
    """So many ports on the wire, and a port of the tunnel on each of so many hosts without it."""
    others = [f"far{number}" for number in range(without)]
    entities: list[Entity] = [
        *(host(name) for name in (*WIRED, *others)),
        physical_network("physnet1", *WIRED),
        network("red/web", "10.0.0.0/16"),
        network("red/lan", "10.1.0.0/16", kind="vlan", segment=110, physical="physnet1"),
        router("red/main", "red/web", "red/lan"),
        group("red/all", ingress=[allow()]),
    ]
    entities += [
        port(f"red/w{place}", "red/web", f"10.0.1.{place + 10}", host=name, groups=["red/all"])
        for place, name in enumerate([*others, *WIRED])
    ]
    entities += [
        port(f"red/l{n}", "red/lan", f"10.1.{n >> 8}.{n & 255}", host=WIRED[n % 2], groups=["red/all"])
        for n in range(10, 10 + ports)
    ]
    return fabric(*entities)


def with_server(where: str | None) -> Change:
    """The fabric with a port more on the wire, there, or nowhere."""

    def changed(before: Topology) -> Topology:
        server = port("red/server", "red/lan", "10.1.200.1", host=where, groups=["red/all"])
        return replace(before, ports={**before.ports, server.name: server})

    return changed


def cost(
    monkeypatch: pytest.MonkeyPatch, base: Topology, before: Change, after: Change
) -> tuple[Counter[str], dict[str, Delta]]:
    """Return what is computed when a fabric changes, by query, and what the switches of each host without a wire are sent."""
    programs, graph = Programs(), Fabric(with_server("hv2")(base))
    programs.enter(before(base))
    bindings = {name: assumed_bindings(graph, each) for name, each in base.hosts.items()}
    for name, known in bindings.items():
        for bridge, ports in known.ports.items():
            for interface, number in ports.items():
                programs.bind(name, bridge, interface, number)
    programs.ask_for(base.hosts)
    programs.settle()
    programs.take()
    with computations(monkeypatch) as counted:
        programs.enter(after(base), {"red"})
        programs.settle()
    deltas = programs.take()
    for fresh in compile_fabric(after(base), bindings=bindings, hosts=base.hosts):
        assert same(programs.programs[fresh.dpid], fresh)
    sent = {}
    for dpid, delta in deltas.items():
        if programs.programs[dpid].host not in WIRED and delta:
            sent[f"{programs.programs[dpid].bridge}@{programs.programs[dpid].host}"] = delta
    return counted, sent


CHANGES: dict[str, tuple[Change, Change]] = {
    "a port comes": (with_server(None), with_server("hv2")),
    "a port moves": (with_server("hv2"), with_server("hv3")),
    "a port goes": (with_server("hv3"), with_server(None)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_port_on_the_wire_is_one_flow_on_each_host_without_it(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    _, sent = cost(monkeypatch, topology(), *CHANGES[change])
    assert set(sent) == {"br-int@far0", "br-int@far1"}
    for delta in sent.values():
        told = [*delta.puts.values(), *delta.deletes.values()]
        assert [flow.kind for flow in told if flow.feature == "handover"] == ["placed"]


@pytest.mark.parametrize("change", CHANGES)
def test_it_costs_no_more_among_many_ports(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    small, _ = cost(monkeypatch, topology(50), *CHANGES[change])
    large, sent = cost(monkeypatch, topology(300), *CHANGES[change])
    assert large.total() <= 2 * small.total(), large - small
    assert all(len(delta) <= 3 for delta in sent.values())


def test_hosts_that_have_nothing_to_hand_over_know_nothing_of_it() -> None:
    """A host whose ports are all on a local network, and those with the wire."""
    base = topology()
    near = network("red/near", "10.2.0.0/16", kind="local")
    alone = port("red/alone", "red/near", "10.2.0.9", host="lone", groups=["red/all"])
    main = router("red/main", "red/web", "red/lan", "red/near")
    whole = replace(
        base,
        hosts={**base.hosts, "lone": replace(host("lone"), tunnel_ip=host("lone").tunnel_ip)},
        networks={**base.networks, near.name: near},
        routers={main.name: main},
        ports={**base.ports, alone.name: alone},
    )
    placed = {
        program.host
        for program in compile_fabric(whole)
        for flow in program.flows.values()
        if flow.kind in ("placed", "handed over")
    }
    assert placed == {"far0", "far1"}
