"""Trunks that change: their programs are always those from nothing, and a change of one costs what it is about."""

from __future__ import annotations

from dataclasses import replace

from controller.graph.fabric import Fabric
from controller.model.entities import Port, Topology
from controller.pipeline.compile import assumed_bindings, compile_fabric, pipeline
from controller.pipeline.flow import Flow, Output, PortNumber
from controller.pipeline.programs import Programs
from controller.pipeline.registers import SET_OF_PORTS, number_of_target, target_of
from tests.builders import fabric, group, host, network, port, subport
from tests.pipeline.changes import content

NET, WEB, DB = "red/net", "red/web", "red/db"
VM = port("red/vm", NET, "10.0.1.11", groups=["red/all"])


def town(*subports: Port) -> Topology:
    """Two hosts with a plain port of each network, and a VM that may be on either."""
    return fabric(
        *(host("hv1"), host("hv2")),
        *(network(NET, "10.0.1.0/24"), network(WEB, "10.0.2.0/24"), network(DB, "10.0.3.0/24")),
        group("red/all"),
        *(VM, *subports),
        port("red/web1", WEB, "10.0.2.21", host="hv1"),
        port("red/db2", DB, "10.0.3.22", host="hv2"),
    )


WEB_101, WEB_7, DB_102 = (
    subport(VM, vlan, of, address)
    for vlan, of, address in ((101, WEB, "10.0.2.11"), (7, WEB, "10.0.2.11"), (102, DB, "10.0.3.11"))
)


class World:
    """Programs that follow, and what they would be from nothing."""

    def __init__(self) -> None:
        self.programs = Programs()
        self.topology: Topology | None = None
        self.at = "hv1"

    def enter(self, topology: Topology) -> None:
        self.programs.enter(topology)
        self.topology = topology
        self.settle()

    def move(self, where: str) -> None:
        self.at = where
        self.settle()

    def settle(self) -> None:
        assert self.topology is not None
        self.programs.place(VM.name, self.at)
        bindings = {}
        for name in ("hv1", "hv2"):
            bindings[name] = assumed_bindings(Fabric(self.topology, {VM.name: "hv1"}), self.topology.hosts[name])
            for bridge, ports in bindings[name].ports.items():
                for interface, number in ports.items():
                    self.programs.bind(name, bridge, interface, number)
        inside = bindings["hv1"].ports["br-int"]
        self.programs.bind("hv2", "br-int", "red.vm", inside["red.vm"])
        there = dict(bindings["hv2"].ports) | {
            "br-int": {**bindings["hv2"].ports["br-int"], "red.vm": inside["red.vm"]}
        }
        bindings["hv2"] = replace(bindings["hv2"], ports=there)
        self.programs.ask_for(["hv1", "hv2"])
        self.programs.settle()
        fresh = compile_fabric(self.topology, {VM.name: self.at}, bindings)
        mine = [program for name in ("hv1", "hv2") for program in self.programs.of_host(name)]
        assert [content(each) for each in mine] == [content(each) for each in fresh]

    def flows_of(self, name: str) -> dict[str, int]:
        """Return host -> how many flows are there for a port."""
        found = {
            where: sum(flow.origin.what == f"port {name}" for flow in self.flows(where)) for where in ("hv1", "hv2")
        }
        return {where: count for where, count in found.items() if count}

    def flows(self, where: str) -> list[Flow]:
        return [flow for program in self.programs.of_host(where) for flow in program.flows.values()]


def test_subports_come_change_and_go() -> None:
    world = World()
    for subports in ((), (WEB_101,), (WEB_7,), (WEB_7, DB_102), (DB_102,), ()):
        world.enter(town(*subports))
        for each in (WEB_101, WEB_7, DB_102):
            assert bool(world.flows_of(each.name)) == (each in subports)


def test_subports_are_where_their_parent_is() -> None:
    world = World()
    world.enter(town(WEB_101))
    before = world.flows_of(WEB_101.name)["hv1"]
    world.move("hv2")
    assert world.flows_of(WEB_101.name)["hv2"] == before
    world.move("hv1")
    assert world.flows_of(WEB_101.name)["hv1"] == before


def test_a_port_without_subports_costs_nothing_more() -> None:
    world = World()
    world.enter(town())
    before = world.flows_of(VM.name)
    world.enter(town(WEB_101))
    assert world.flows_of(VM.name) == before
    assert all(flow.origin.what == "Weft: trunks" for flow in world.flows("hv2") if flow.feature == "trunk")


def test_what_is_answered_goes_back_through_the_table_that_knows_tags() -> None:
    world = World()
    world.enter(town(WEB_101, DB_102))
    to_ports = {pipeline().tables[name].number for name in ("back", "output")}
    back = [flow for flow in world.flows("hv1") if Output(PortNumber.IN_PORT) in flow.actions]
    assert {flow.table for flow in back} == to_ports


def test_no_target_is_taken_for_another() -> None:
    targets = {target_of(number, vlan) for number in (1, 0xFEFF) for vlan in (0, 1, 4094)}
    assert len(targets) == 6
    assert not any(target & SET_OF_PORTS for target in targets)
    assert number_of_target(target_of(0xFEFF, 4094)) == (0xFEFF, 4094)
