"""A network with 500 ports on one host still broadcasts, to every member once and to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import config
from controller.graph.fabric import Fabric
from controller.model.address import format_mac
from controller.pipeline.compile import assumed_bindings, compile_fabric
from tests.ovs.twin import Twin

pytestmark = pytest.mark.ovs

PORTS = 500
FABRIC = """\
fabric: crowd
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 1000-1099}
"""
RULES = "  web:\n    ingress:\n      - {protocol: udp, ports: 5000}\n"


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """A network with 500 ports of two classes on hv1, one on hv2, and a stranger on hv1."""
    lines = [
        f"networks:\n  web: {{cidr: 10.0.0.0/16}}\n  other: {{cidr: 10.0.0.0/16}}\nsecurity_groups:\n{RULES}ports:\n"
    ]
    for number in range(PORTS):
        group = "[web]" if number % 2 else "[]"
        mac = format_mac(0x020000000000 + number)
        ip = f"10.0.{1 + number // 250}.{1 + number % 250}"
        lines.append(f"  p{number}: {{network: web, ip: {ip}, mac: '{mac}', host: hv1, security_groups: {group}}}\n")
    lines.append("  far: {network: web, ip: 10.0.9.1, host: hv2}\n  stranger: {network: other, host: hv1}\n")
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    (tmp_path / "tenants" / "red.yaml").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def host(crowd: Path, twin: Twin) -> dict[str, int]:
    """hv1's br-int with all its ports as dummies; returns their numbers."""
    topology = config.load(crowd).topology
    assert topology is not None
    fabric = Fabric(topology)
    ports = dict(assumed_bindings(fabric, topology.hosts["hv1"]).ports["br-int"])
    twin.add_bridge("br-int", ports)
    program = next(
        program for program in compile_fabric(topology) if (program.host, program.bridge) == ("hv1", "br-int")
    )
    twin.install("br-int", program)
    return ports


def frame(ethertype: str, payload: str) -> bytes:
    return bytes.fromhex("ffffffffffff" + "020000000001" + ethertype + payload).ljust(60, b"\0")


def test_an_arp_request_for_an_unknown_address_reaches_everybody_once(twin: Twin, host: dict[str, int]) -> None:
    arp = frame("0806", "0001080006040001" + "020000000001" + "0a000102" + "000000000000" + "0a00fe01")
    twin.inject("red.p1", arp)
    twin.settle()
    copies = {port: len(twin.sent(port)) for port in host}
    everybody = {f"red.p{number}" for number in range(PORTS)} - {"red.p1"}
    assert {port for port, count in copies.items() if count == 1} == everybody | {"patch-tun"}
    assert max(copies.values()) == 1


def test_a_broadcast_that_some_may_receive_reaches_those_and_the_other_hosts(twin: Twin, host: dict[str, int]) -> None:
    udp = frame("0800", "4500001c00000000401100000a000102ffffffff" + "03e8138800080000")
    udp = udp[:24] + checksum(udp[14:34]) + udp[26:]
    twin.inject("red.p1", udp)
    twin.settle()
    receivers = {port for port in host if twin.sent(port)}
    assert receivers == {f"red.p{number}" for number in range(3, PORTS, 2)} | {"patch-tun"}


def checksum(header: bytes) -> bytes:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2) if at != 10)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")
