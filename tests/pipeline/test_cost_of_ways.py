"""What is joined to a router concerns the hosts that know the router: nobody else is sent anything, however many there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from controller.graph.fabric import Fabric
from controller.model.entities import FloatingIp, Route, Router, Topology
from controller.pipeline.compile import assumed_bindings, compile_fabric
from controller.pipeline.flow import Bindings
from controller.pipeline.programs import Programs
from tests.builders import (
    Entity,
    allow,
    at,
    external_network,
    fabric,
    floating_ip,
    group,
    host,
    network,
    physical_network,
    port,
    router,
)
from tests.pipeline.counted import readings
from tests.pipeline.world import same

Change = Callable[[Topology], Topology]
RED, OTHERS = ("hv1", "hv2", "hv3"), ("hv4", "hv5", "hv6")


def topology(others: int = 3) -> Topology:
    """Red's router leads out by hv1, from ports on hv1 to hv3. So many others have routers elsewhere, by hv6."""
    entities: list[Entity] = [
        *(replace(host(name), gateway=name in ("hv1", "hv6")) for name in (*RED, *OTHERS)),
        *(physical_network("physnet1", "hv1"), physical_network("physnet2", "hv6")),
        external_network("public", "203.0.113.0/24", physical="physnet1"),
        external_network("beyond", "198.51.100.0/24", physical="physnet2"),
        *(network(f"red/net{n}", f"10.0.{n}.0/24") for n in (1, 2, 3)),
        group("red/all", ingress=[allow()]),
        *(
            port(f"red/p{n}{m}", f"red/net{n}", f"10.0.{n}.{m}0", host=f"hv{m}", groups=["red/all"])
            for n in (1, 2)
            for m in (1, 2, 3)
        ),
        port("red/p33", "red/net3", "10.0.3.30", host="hv3", groups=["red/all"]),
        router("red/main", "red/net1", "red/net2", external="public", address="203.0.113.5"),
    ]
    for number in range(others):
        owner = f"t{number}"
        entities += [network(f"{owner}/net", "10.0.1.0/24"), group(f"{owner}/all", ingress=[allow()])]
        entities.append(router(f"{owner}/main", f"{owner}/net", external="beyond", address=f"198.51.100.{10 + number}"))
        entities += [
            port(f"{owner}/{name}", f"{owner}/net", f"10.0.1.{10 + place}", host=name, groups=[f"{owner}/all"])
            for place, name in enumerate(OTHERS)
        ]
    return fabric(*entities)


def routed(changed: Callable[[Router], Router]) -> Change:
    return lambda before: replace(before, routers={**before.routers, "red/main": changed(before.routers["red/main"])})


def with_route(to: str, via: str) -> Change:
    route = Route(ip_network(to), ip_address(via), at("red"))
    return routed(lambda before: replace(before, routes=(*before.routes, route)))


def with_floating(before: Topology) -> Topology:
    new: FloatingIp = floating_ip("203.0.113.9", "red/p12", "10.0.1.20", router="red/main", external="public")
    return replace(before, floating_ips={**before.floating_ips, new.name: new})


CHANGES: dict[str, tuple[Change, set[str]]] = {
    "a route": (with_route("172.16.0.0/12", "10.0.1.20"), set(RED)),
    "a route out": (with_route("172.16.0.0/12", "203.0.113.77"), set(RED)),
    "a network": (routed(lambda before: replace(before, networks=(*before.networks, "red/net3"))), set(RED)),
    # Its port's host is not wired, so that the gateway translates it; nobody else has to know.
    "a floating IP": (with_floating, {"hv1"}),
}


def assumed(topology: Topology) -> dict[str, Bindings]:
    graph = Fabric(topology)
    return {name: assumed_bindings(graph, each) for name, each in topology.hosts.items()}


def running(before: Topology, after: Topology) -> Programs:
    """Return the programs of a fabric whose switches have all the ports that another one needs."""
    programs = Programs()
    programs.enter(before)
    for name, known in assumed(after).items():
        for bridge, ports in known.ports.items():
            for interface, number in ports.items():
                programs.bind(name, bridge, interface, number)
    programs.ask_for(before.hosts)
    programs.settle()
    programs.take()
    return programs


def hosts_of_change(before: Topology, after: Topology) -> tuple[set[str], int]:
    """Return the hosts that are sent something, and how many flows and groups that are."""
    programs = running(before, after)
    programs.enter(after, {"red"})
    programs.settle()
    deltas = programs.take()
    for fresh in compile_fabric(after, bindings=assumed(after), hosts=after.hosts):
        assert same(programs.programs[fresh.dpid], fresh)
    return {programs.programs[dpid].host for dpid in deltas}, sum(map(len, deltas.values()))


@pytest.mark.parametrize("change", CHANGES)
def test_a_routers_hosts_alone_are_told_of_what_is_joined_to_it(change: str) -> None:
    edit, concerned = CHANGES[change]
    told, flows = hosts_of_change(topology(), edit(topology()))
    assert told
    assert told <= concerned, "nobody else"
    assert (told, flows) == hosts_of_change(topology(12), edit(topology(12)))


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_taken_from_a_router_goes_from_its_hosts_alone(change: str) -> None:
    edit, concerned = CHANGES[change]
    assert hosts_of_change(edit(topology()), topology())[0] <= concerned


@pytest.mark.parametrize("kind", ["vxlan", "vlan"])
def test_a_network_that_joins_looks_at_each_other_one_a_few_times(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Not at each for the sake of each, which would make a router of two hundred networks a hundred times as dear as one of twenty."""

    def looks(count: int) -> int:
        names = [f"red/n{number}" for number in range(count)]
        entities: list[Entity] = [*map(host, RED), physical_network("physnet1", "hv1", "hv2")]
        for number, name in enumerate(names):
            physical, segment = ("physnet1", 100 + number) if kind == "vlan" else (None, None)
            entities.append(network(name, f"10.0.{number}.0/24", kind=kind, physical=physical, segment=segment))
            entities.append(port(f"red/p{number}", name, f"10.0.{number}.10", host=RED[number % 2]))
        before, after = (fabric(*entities, router("red/main", *some)) for some in (names[:-1], names))
        programs = running(before, after)
        programs.enter(after, {"red"})
        with readings(monkeypatch) as read:
            programs.settle()
        return read.total()

    assert looks(80) < 6 * looks(20)


def test_a_hundred_floating_ips_more_cost_a_hundred_times_one() -> None:
    """What is there already is not sent again: each is so many flows, on the one host that translates it."""

    base = topology()
    spots = range(50, 151)
    ports = [port(f"red/n{n}", "red/net1", f"10.0.1.{n}", host="hv2", groups=["red/all"]) for n in spots]

    def many(count: int) -> Topology:
        made = [
            floating_ip(f"203.0.113.{n}", f"red/n{n}", f"10.0.1.{n}", router="red/main", external="public")
            for n in spots[:count]
        ]
        return replace(
            base,
            ports={**base.ports, **{each.name: each for each in ports}},
            floating_ips={each.name: each for each in made},
        )

    assert hosts_of_change(many(100), many(101)) == hosts_of_change(many(10), many(11))


def test_a_floating_ip_of_who_shares_a_network_has_its_flows() -> None:
    """The router is the network's owner's, the port and its floating IP are not."""
    base = topology()
    shared = replace(base.networks["red/net1"], share=("t0",))
    guest = port("t0/guest", "red/net1", "10.0.1.99", host="hv2", groups=["t0/all"])
    own = floating_ip("203.0.113.9", "t0/guest", "10.0.1.99", router="red/main", external="public")
    after = replace(
        base,
        networks={**base.networks, shared.name: shared},
        ports={**base.ports, guest.name: guest},
        floating_ips={own.name: own},
    )
    of_guest = {
        (program.host, flow.kind)
        for program in compile_fabric(after)
        for flow in program.flows.values()
        if flow.origin.what == f"floating IP {own.name}"
    }
    assert {("hv1", "floating IP"), ("hv1", "for us"), ("hv1", "answer")} <= of_guest
