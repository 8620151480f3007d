"""Whose tunnel packets a host takes: who has a port of the network, or routes into it."""

from __future__ import annotations

from ipaddress import ip_address

from controller.model.entities import Topology
from controller.pipeline.compile import compile_fabric
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow
from tests.builders import fabric, host, network, port, router

_SOURCE = BY_NAME["tun_src"].index

HOSTS = [host(f"hv{number}", f"172.31.0.{number}") for number in range(1, 4)]
NETWORKS = [network(f"red/n{number}", f"10.0.{number}.0/24") for number in range(9)]
PORTS = [
    port(f"red/p{number}", f"red/n{number}", f"10.0.{number}.10", host=f"hv{number % 2 + 1}") for number in range(9)
]
OTHER = network("blue/net", "10.9.0.0/24")
ELSEWHERE = port("blue/p", "blue/net", "10.9.0.10", host="hv3")
MAIN = router("red/main", *(each.name for each in NETWORKS))


def senders(topology: Topology, of: str) -> dict[str, list[str]]:
    """Return kind -> the VTEPs that flows of the kind take packets from, each as often as it is named, on one host."""
    found: dict[str, list[str]] = {}
    for program in compile_fabric(topology):
        if (program.host, program.bridge) == (of, "br-tun"):
            for flow in program.flows.values():
                found.setdefault(flow.kind, []).extend(_senders(flow))
    return {kind: sorted(addresses) for kind, addresses in found.items() if addresses}


def _senders(flow: Flow) -> list[str]:
    return [str(ip_address(value)) for index, value, _ in flow.match if index == _SOURCE]


def test_a_router_lists_its_hosts_once_whatever_its_networks() -> None:
    found = senders(fabric(*HOSTS, *NETWORKS, *PORTS, OTHER, ELSEWHERE, MAIN), "hv1")
    assert found == {"host of the router": ["172.31.0.2"]}


def test_who_has_nothing_of_the_router_sends_none_of_its_packets() -> None:
    assert senders(fabric(*HOSTS, *NETWORKS, *PORTS, OTHER, ELSEWHERE, MAIN), "hv3") == {}


def test_a_foreign_vtep_sends_packets_of_its_own_networks_only() -> None:
    rack = host("rack9", vtep=True)
    far = port("red/far", "red/n0", "10.0.0.99", host="rack9")
    found = senders(fabric(*HOSTS, rack, *NETWORKS, *PORTS, far, MAIN), "hv1")
    assert found == {"host of the router": ["172.31.0.2"], "known VTEP": ["172.31.0.9"]}


def test_without_a_router_each_network_lists_its_own_hosts() -> None:
    far = port("red/far", "red/n0", "10.0.0.99", host="hv3")
    assert senders(fabric(*HOSTS, *NETWORKS, *PORTS, far), "hv1") == {"known VTEP": ["172.31.0.3"]}
