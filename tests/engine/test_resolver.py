"""What switches are sent when packets wait for neighbours, and what a controller that starts anew knows of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from os_ken.lib.packet import icmp, udp
from os_ken.lib.packet.arp import arp

from controller.answers import neighbours as frames
from controller.answers.asked import Asked
from controller.answers.datagram import ethernet
from controller.engine import Engine, neighbours
from controller.model.address import format_mac, router_mac, wire_mac
from controller.model.entities import Address
from controller.model.ids import host_id, integration_dpid, key
from controller.model.names import patch_to_physical
from controller.pipeline.fields import BY_NAME, CT_NEW, CT_TRACKED, VLAN_PRESENT
from controller.pipeline.flow import Delta, Output, PushVlan, Resubmit, SetField, set_field
from controller.pipeline.heard import Neighbour, neighbour_note, read_neighbours
from controller.pipeline.plan import pipeline
from controller.pipeline.questions import Question
from controller.pipeline.registers import NETWORK, QUESTION, SOURCE, SPACE, Register
from controller.pipeline.released import notes_of
from controller.pipeline.stamps import look_up
from controller.wire.packet_out import packet_out
from tests.answers.packets import ip, read
from tests.engine.test_engine import Recorder, wait_for

FABRIC = """\
fabric: small
hosts:
  hv1: {tunnel_ip: 172.31.0.1, gateway: true}
  hv2: {tunnel_ip: 172.31.0.2}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
external_networks:
  public: {physical_network: physnet1, vlan: 100, cidr: 203.0.113.0/24, gateway: 203.0.113.1, pool: 203.0.113.10-203.0.113.99}
  spare: {physical_network: physnet1, vlan: 101, cidr: 198.51.100.0/24, gateway: 198.51.100.1}
tenants:
  red: {segments: 1000-1099, vlans: {physnet1: 110-119}}
"""
RED = """\
networks:
  web: {cidr: 10.0.1.0/24, segment: 1001}
  lan: {type: vlan, physical_network: physnet1, segment: 110, cidr: 192.0.2.0/24}
ports:
  a: {network: web, ip: 10.0.1.11, host: hv1}
  b: {network: lan, ip: 192.0.2.11, host: hv1}
routers:
  main: {networks: [web, lan], external: public}
"""
HV1, HV2 = integration_dpid(host_id("hv1")), integration_dpid(host_id("hv2"))
PATCH = patch_to_physical("physnet1")
PORTS = {"patch-tun": 1, PATCH: 2, "red.a": 5, "red.b": 6}
GATEWAY, STRANGER = neighbours.Spot("public", IPv4Address("203.0.113.1")), IPv4Address("192.0.2.50")
THEIRS = 0x0200000000F1


class Log(Recorder):
    """Switches that note in which order they are told things."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, Delta | bytes]] = []

    def change(self, dpid: int, delta: Delta) -> int:
        self.told.append((dpid, delta))
        return super().change(dpid, delta)

    def send(self, dpid: int, message: bytes) -> bool:
        self.told.append((dpid, message))
        return dpid in self.programs

    def messages(self, dpid: int) -> list[bytes]:
        return [what for whom, what in self.told if whom == dpid and isinstance(what, bytes)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text(RED)
    return tmp_path


@pytest.fixture
def started(folder: Path) -> Iterator[Callable[..., tuple[Engine, Log]]]:
    """Return what starts a controller whose switch hv1 comes with these notes."""
    engines: list[Engine] = []

    def start(*notes: str) -> tuple[Engine, Log]:
        switches = Log()
        engine = Engine(folder)
        assert engine.load().accepted, engine.intent.report.problems
        engine.attach(switches)
        engine.start()
        engines.append(engine)
        engine.held(HV1, notes)
        engine.connected(HV1, PORTS)
        wait_for(lambda: HV1 in switches.programs)
        return engine, switches

    yield start
    for engine in engines:
        engine.close(5.0)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERVAL_S", "REST_S", "CONFIRM_S"):
        monkeypatch.setattr(neighbours, name, 0.05)


def registers(values: Mapping[Register, int]) -> dict[int, int]:
    found: dict[int, int] = {}
    for register, value in values.items():
        index = BY_NAME[register.field].index
        found[index] = found.get(index, 0) | value << register.offset
    return found


def question(engine: Engine, kind: Question, packet: bytes, network: str, *, port: str | None = None) -> Asked:
    topology = engine.intent.topology
    assert topology is not None
    sender = topology.ports[port] if port else None
    place = key("external" if network == "public" else "network", network)
    values = {NETWORK: place, SPACE: key("space", "red/@main"), QUESTION: kind}
    if sender is not None:
        values[SOURCE] = key("port", sender.name)
    router = None if network == "public" else topology.routers["red/main"]
    around = topology.networks.get(sender.network if sender else network)
    return Asked(
        kind, topology, topology.hosts["hv1"], 5 if port else 2, sender, around, router, registers(values), packet
    )


def reply(network: str, address: Address) -> bytes:
    """Return what a neighbour answers."""
    request = frames.announce(address, THEIRS)
    return ethernet(wire_mac(network, "hv1"), THEIRS, 0x0806, request[14:20] + b"\0\2" + request[22:])


def remembered(switches: Log) -> list[Neighbour]:
    return list(read_neighbours(text for flow in switches.programs[HV1].flows.values() for text in notes_of(flow)))


def waiting(engine: Engine, size: int = 20) -> Asked:
    """Return a packet of red/a for a stranger on red/lan, as it looks where its neighbour is looked up."""
    frame = ip(udp.udp(1, 2), bytes(size), source="10.0.1.11", target=str(STRANGER), protocol=17)
    return question(engine, Question.NEIGHBOUR, frame, "red/lan", port="red/a")


def test_an_upstream_gateway_is_asked_for_by_the_gateways_of_the_fabric(
    started: Callable[..., tuple[Engine, Log]],
) -> None:
    engine, switches = started()
    engine.held(HV2, ())
    engine.connected(HV2, {PATCH: 3})
    mac = wire_mac("public", "hv1")
    out = (PushVlan(), set_field("vlan_tci", VLAN_PRESENT | 100), Output(2))
    asked = packet_out(frames.ask(GATEWAY.address, mac), out)
    wait_for(lambda: switches.messages(HV1).count(asked) > 1)
    assert switches.messages(HV2) == []
    # Nobody needs that of an external network which no router leads out by.
    spare = frames.ask(IPv4Address("198.51.100.1"), wire_mac("spare", "hv1"))
    assert not [each for each in switches.messages(HV1) if spare in each]


def test_a_gateway_that_answers_becomes_known_and_the_switch_remembers_it(
    started: Callable[..., tuple[Engine, Log]],
) -> None:
    engine, switches = started()
    engine.resolver.hear(question(engine, Question.HEARD, reply("public", GATEWAY.address), "public"))
    wait_for(lambda: remembered(switches) == [(*GATEWAY, THEIRS)])
    assert engine.status()["neighbours"] == [{"network": "public", "address": "203.0.113.1", "mac": format_mac(THEIRS)}]


def test_a_packet_goes_on_after_the_flows_of_its_neighbour(started: Callable[..., tuple[Engine, Log]]) -> None:
    engine, switches = started()
    asked = waiting(engine)
    engine.resolver.want(asked)
    forward = Resubmit(pipeline().tables["forward"].number)
    where = (NETWORK.load(key("network", "red/lan")), SPACE.load(key("space", "red/@main")), forward)
    probe = packet_out(frames.ask(STRANGER, wire_mac("red/lan", "hv1")), where)
    wait_for(lambda: probe in switches.messages(HV1))
    engine.resolver.hear(question(engine, Question.HEARD, reply("red/lan", STRANGER), "red/lan"))
    fields = registers(
        {NETWORK: key("network", "red/lan"), SPACE: key("space", "red/@main"), SOURCE: key("port", "red/a")}
    )
    loads = [SetField(BY_NAME[name].index, fields[BY_NAME[name].index]) for name in ("reg0", "reg3", "reg1")]
    again = packet_out(asked.packet, (*loads, Resubmit(pipeline().tables["resolve"].number)), 5)
    wait_for(lambda: again in switches.messages(HV1))
    told = [what for whom, what in switches.told if whom == HV1]
    flows = next(
        place for place, what in enumerate(told) if isinstance(what, Delta) and any(map(notes_of, what.puts.values()))
    )
    assert flows < told.index(again)
    assert told.count(again) == 1


def test_a_packet_of_a_new_connection_is_looked_up_again_so_that_the_connection_is_kept(
    started: Callable[..., tuple[Engine, Log]],
) -> None:
    engine, switches = started()
    asked = waiting(engine)
    asked = replace(asked, fields={**asked.fields, BY_NAME["ct_state"].index: CT_TRACKED | CT_NEW})
    engine.resolver.want(asked)
    engine.resolver.hear(question(engine, Question.HEARD, reply("red/lan", STRANGER), "red/lan"))
    loads = [SetField(BY_NAME[name].index, asked.fields[BY_NAME[name].index]) for name in ("reg0", "reg3", "reg1")]
    again = packet_out(asked.packet, (*loads, look_up(pipeline().tables["resolve"].number)), 5)
    wait_for(lambda: again in switches.messages(HV1))


def test_a_sender_is_told_that_nobody_answers(started: Callable[..., tuple[Engine, Log]]) -> None:
    engine, switches = started()
    engine.resolver.want(waiting(engine))

    def told() -> list[bytes]:
        # Behind OpenFlow's header and one output.
        return [
            message[40:] for message in switches.messages(HV1) if read(message[40:]).get_protocol(icmp.icmp) is not None
        ]

    wait_for(lambda: bool(told()))
    (frame,) = told()
    assert read(frame).get_protocol(icmp.icmp).code == 1
    assert frame[6:12] == router_mac("red/web").to_bytes(6, "big")


def test_a_neighbour_in_a_tunnel_network_is_asked_in_the_routers_name(
    started: Callable[..., tuple[Engine, Log]],
) -> None:
    engine, switches = started()
    frame = ip(udp.udp(1, 2), source="192.0.2.11", target="10.0.1.99", protocol=17)
    engine.resolver.want(question(engine, Question.NEIGHBOUR, frame, "red/web", port="red/b"))

    def asked() -> list[arp]:
        found = [read(message[-60:]).get_protocol(arp) for message in switches.messages(HV1)]
        return [each for each in found if each is not None and each.dst_ip == "10.0.1.99"]

    wait_for(lambda: bool(asked()))
    assert (asked()[0].src_ip, asked()[0].src_mac) == ("10.0.1.1", format_mac(router_mac("red/web")))


def test_a_controller_that_starts_anew_has_the_flows_of_what_switches_remember_from_the_first(
    started: Callable[..., tuple[Engine, Log]],
) -> None:
    notes = [neighbour_note(Neighbour(*GATEWAY, THEIRS)), neighbour_note(Neighbour("gone", GATEWAY.address, THEIRS))]
    _, switches = started(*notes)
    assert remembered(switches) == [(*GATEWAY, THEIRS)]
    # Nobody has answered by then, and the way out is as it was.
    wait_for(lambda: len(switches.messages(HV1)) > neighbours.TIMES)
    assert remembered(switches) == [(*GATEWAY, THEIRS)]


def test_neighbours_go_when_the_files_no_longer_name_their_network(
    started: Callable[..., tuple[Engine, Log]], folder: Path
) -> None:
    engine, switches = started(neighbour_note(Neighbour(*GATEWAY, THEIRS)))
    (folder / "tenants" / "red.yaml").write_text(RED.replace(", external: public", ""))
    text = FABRIC[: FABRIC.index("external_networks:")] + FABRIC[FABRIC.index("tenants:") :]
    (folder / "fabric.yaml").write_text(text)
    assert engine.reload().report.accepted
    wait_for(lambda: remembered(switches) == [] and engine.status()["neighbours"] == [])


def test_nothing_is_learned_of_garbage(started: Callable[..., tuple[Engine, Log]]) -> None:
    engine, _ = started()
    assert engine.resolver.want(question(engine, Question.NEIGHBOUR, b"", "red/lan", port="red/a")) == ()
    assert engine.resolver.hear(question(engine, Question.HEARD, bytes(60), "red/lan")) == ()
    until = time.monotonic() + 0.2
    while time.monotonic() < until:
        assert engine.status()["neighbours"] == []
