"""A change costs what it is worth: what is computed anew, and what is sent, does not grow with the fabric."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from controller.model.entities import Topology
from controller.model.names import PATCH_TO_INTEGRATION, PATCH_TO_TUNNEL, interface_name
from controller.pipeline.programs import Programs
from tests.builders import Entity, address_group, allow, fabric, group, host, network, port
from tests.pipeline.counted import computations

HOSTS = ("hv1", "hv2", "hv3", "hv4")
PER_NETWORK = 10
Change = Callable[[Topology], Topology]


def fabric_of(tenants: int, ports: int) -> Topology:
    """So many tenants, each with a network of so many ports on the hosts in turn."""
    entities: list[Entity] = [host(name) for name in HOSTS]
    for place in range(tenants):
        owner = f"t{place}"
        rules = [allow("tcp", 80), allow("tcp", (1000, 1999), far=f"{owner}/web"), allow("icmp")]
        entities += [network(f"{owner}/net", "10.0.0.0/16"), group(f"{owner}/web", ingress=rules)]
        for number in range(10, 10 + ports):
            address = f"10.0.{number >> 8}.{number & 255}"
            where = HOSTS[number % 4]
            entities.append(
                port(f"{owner}/p{number}", f"{owner}/net", address, host=where, groups=[f"{owner}/web"]),
            )
    return fabric(*entities)


def with_port(topology: Topology, on: str | None) -> Topology:
    """The fabric with one port more of the first tenant, there or nowhere."""
    new = port("t0/new", "t0/net", "10.0.200.1", host=on, groups=["t0/web"])
    return replace(topology, ports={**topology.ports, new.name: new})


def with_rule(topology: Topology) -> Topology:
    web = topology.groups["t0/web"]
    opened = group("t0/web", ingress=[*web.ingress, allow("udp", 53)])
    return replace(topology, groups={**topology.groups, opened.name: opened})


def cost(
    monkeypatch: pytest.MonkeyPatch, topology: Topology, before: Change, after: Change
) -> tuple[Counter[str], int]:
    """Return what is computed when a fabric changes, by query, and how many flows and groups that gives."""
    programs = Programs()
    programs.enter(before(topology))
    for name in HOSTS:
        programs.bind(name, "br-int", PATCH_TO_TUNNEL, 1)
        programs.bind(name, "br-tun", PATCH_TO_INTEGRATION, 1)
        programs.bind(name, "br-tun", "vxlan", 2)
        for number, each in enumerate([*topology.ports, "t0/new"], 10):
            programs.bind(name, "br-int", interface_name(each), number)
    programs.ask_for(HOSTS)
    programs.settle()
    programs.take()
    with computations(monkeypatch) as counted:
        programs.enter(after(topology), {"t0"})
        programs.settle()
    return counted, sum(map(len, programs.take().values()))


CHANGES: dict[str, tuple[Change, Change]] = {
    "a port more": (lambda fabric: with_port(fabric, None), lambda fabric: with_port(fabric, "hv1")),
    "a port less": (lambda fabric: with_port(fabric, "hv1"), lambda fabric: fabric),
    "a port moved": (lambda fabric: with_port(fabric, "hv1"), lambda fabric: with_port(fabric, "hv2")),
    "a rule more": (lambda fabric: fabric, with_rule),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_the_same_in_a_fabric_ten_times_as_large(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    small = cost(monkeypatch, fabric_of(5, PER_NETWORK), *CHANGES[change])
    large = cost(monkeypatch, fabric_of(50, PER_NETWORK), *CHANGES[change])
    assert small == large
    assert 0 < small[1] < 40


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_no_more_than_twice_in_a_network_ten_times_as_large(
    monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    small, sent = cost(monkeypatch, fabric_of(1, 50), *CHANGES[change])
    large, sent_in_large = cost(monkeypatch, fabric_of(1, 500), *CHANGES[change])
    assert sent == sent_in_large
    assert large.total() <= 2 * small.total(), large - small


def test_an_entry_more_in_a_list_of_5000_addresses_is_one_flow_a_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where a rule names the list, and however many rules do."""
    entries = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(5000)]
    rules = [allow("tcp", (80, 90), addresses=["t0/corp"]), allow("udp", 53, addresses=["t0/corp"])]
    fabric_with = fabric(
        *(host(name) for name in HOSTS),
        network("t0/net", "192.168.0.0/24"),
        group("t0/web", ingress=rules),
        group("t0/other"),
        address_group("t0/corp", *entries),
        port("t0/a", "t0/net", "192.168.0.10", host="hv1", groups=["t0/web"]),
        port("t0/b", "t0/net", "192.168.0.11", host="hv2", groups=["t0/web"]),
        port("t0/c", "t0/net", "192.168.0.12", host="hv3", groups=["t0/other"]),
    )

    def listed(topology: Topology, *more: str) -> Topology:
        longer = address_group("t0/corp", *entries, *more)
        return replace(topology, address_groups={longer.name: longer})

    _, sent = cost(monkeypatch, fabric_with, listed, lambda topology: listed(topology, "203.0.113.7/32"))
    assert sent == 2
