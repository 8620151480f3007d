"""The end of an address's connections: the bytes that ovs-ofctl sends, and what becomes of real connections."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from controller.proof.packet import Packet
from controller.wire import dump, message
from controller.wire.flush import Flush, flush, messages
from controller.wire.message import HEADER, MessageType
from tests.ovs.frames import frame
from tests.ovs.twin import Twin
from tests.scenarios.labs import wait_until
from tests.wire.test_against_ovs import Wire

pytestmark = pytest.mark.ovs


def sent_by_ofctl(folder: Path, *wanted: str) -> bytes:
    """Return the body of the message that `ovs-ofctl ct-flush` sends to somebody who only says hello and answers its barrier."""
    path = folder / "listener"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(20)
        command = ["ovs-ofctl", "-O", "OpenFlow14", "ct-flush", f"unix:{path}", *wanted]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as asker, listener.accept()[0] as channel:
            channel.sendall(message.frame(MessageType.HELLO, 1))
            found = b""
            with channel.makefile("rb") as stream:
                while head := stream.read(HEADER.size):
                    _, kind, length, xid = HEADER.unpack(head)
                    body = stream.read(length - HEADER.size)
                    if kind == MessageType.EXPERIMENTER:
                        found = body
                    elif kind == MessageType.BARRIER_REQUEST:
                        channel.sendall(message.frame(MessageType.BARRIER_REPLY, xid))
            assert asker.wait(20) == 0
    path.unlink()
    return found


def test_an_ipv4_address_is_flushed_as_ovs_ofctl_does_it(tmp_path: Path) -> None:
    ours = messages(Flush(7, ip_address("10.0.0.1")))
    assert [body.hex(" ", 4) for body in ours] == [
        sent_by_ofctl(tmp_path, "zone=7", f"ct_nw_{end}=10.0.0.1").hex(" ", 4) for end in ("src", "dst")
    ]


def test_an_ipv6_address_is_flushed_protocol_by_protocol(tmp_path: Path) -> None:
    ours = messages(Flush(7, ip_address("fd00::1")))
    assert [body.hex(" ", 4) for body in ours] == [
        sent_by_ofctl(tmp_path, "zone=7", f"ct_nw_proto={protocol},ct_ipv6_{end}=fd00::1").hex(" ", 4)
        for protocol in (6, 17, 132)
        for end in ("src", "dst")
    ]


def test_a_whole_zone_is_flushed_as_ovs_ofctl_does_it(tmp_path: Path) -> None:
    assert messages(Flush(4660, None)) == (sent_by_ofctl(tmp_path, "zone=4660"),)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with Twin(tmp_path_factory.mktemp("ovs")) as running:
        running.add_bridge("br0", {"p7": 7, "p8": 8})
        track = "flow add in_port={0},{1},actions=ct(commit,zone={0})"
        running.install("br0", [track.format(zone, kind) for zone in (7, 8) for kind in ("ip", "ipv6")])
        yield running


Connection = tuple[str, str, int]  # source, destination, zone

CONNECTIONS: list[Connection] = [
    ("10.0.0.1", "10.0.0.2", 7),
    ("10.0.0.2", "10.0.0.1", 7),
    ("10.0.0.2", "10.0.0.3", 7),
    ("10.0.0.1", "10.0.0.2", 8),
    ("10.0.0.11", "10.0.0.12", 7),
    ("fd00::1", "fd00::2", 7),
    ("fd00::2", "fd00::1", 7),
    ("fd00::2", "fd00::3", 7),
    ("fd00::1", "fd00::2", 8),
]


def open_all(twin: Twin) -> None:
    twin.flush_conntrack()
    for source, destination, zone in CONNECTIONS:
        src, dst = ip_address(source), ip_address(destination)
        kind = 0x0800 if src.version == 4 else 0x86DD
        twin.inject(f"p{zone}", frame(Packet("one", 2, 3, kind, src, dst, 17, sport=1000, dport=2000)))
    twin.settle()
    wait_until(lambda: tracked(twin) == set(CONNECTIONS), "all connections are tracked")


def tracked(twin: Twin) -> set[Connection]:
    entries = re.findall(r"orig=\(src=([^,]+),dst=([^,]+),.*?zone=(\d+)", twin.control.call("dpctl/dump-conntrack"))
    return {(source, destination, int(zone)) for source, destination, zone in entries}


def ask(twin: Twin, *wanted: Flush) -> list[str]:
    """Send these; return the names of the errors."""
    wire = Wire(twin.directory / "br0.mgmt")
    data = b"".join(flush(each, 7) for each in wanted) + message.barrier(8)
    frames = wire.ask(data, lambda answer: answer[1] == MessageType.BARRIER_REPLY)
    wire.close()
    return [dump.error(answer).name for answer in frames if answer[1] == MessageType.ERROR]


@pytest.mark.parametrize("address", ["10.0.0.1", "fd00::1", "10.0.0.3", "10.0.0.9"])
def test_the_connections_of_an_address_end_and_all_others_stay(twin: Twin, address: str) -> None:
    open_all(twin)
    assert ask(twin, Flush(7, ip_address(address))) == []
    gone = {each for each in CONNECTIONS if address in each and each[2] == 7}
    assert tracked(twin) == set(CONNECTIONS) - gone


def test_a_zone_without_an_address_is_all_of_it(twin: Twin) -> None:
    open_all(twin)
    assert ask(twin, Flush(7, None)) == []
    assert tracked(twin) == {each for each in CONNECTIONS if each[2] == 8}


@pytest.mark.parametrize(("version", "protocol", "kind"), [(4, 1, 8), (4, 1, 13), (6, 58, 128)])
def test_a_switch_survives_the_end_of_pings(twin: Twin, version: int, protocol: int, kind: int) -> None:
    """Open vSwitch 3.1.0 aborts when an ICMPv6 connection is ended by its address."""
    open_all(twin)
    one, other = (
        ip_address("10.0.0.1" if version == 4 else "fd00::1"),
        ip_address("10.0.0.2" if version == 4 else "fd00::2"),
    )
    ethertype = 0x0800 if version == 4 else 0x86DD
    twin.inject("p7", frame(Packet("one", 2, 3, ethertype, one, other, protocol, sport=7, icmp_type=kind)))
    twin.settle()
    assert ask(twin, Flush(7, one), Flush(7, other)) == []
    assert ("10.0.0.11", "10.0.0.12", 7) in tracked(twin)


def test_an_address_is_flushed_more_than_once_as_a_walk_may_pass_over_connections() -> None:
    once = sum(len(body) + 8 for body in messages(Flush(7, ip_address("10.0.0.1"))))
    assert len(flush(Flush(7, ip_address("10.0.0.1")), 1)) == 3 * once
    assert len(flush(Flush(7, None), 1)) == 8 + len(messages(Flush(7, None))[0])
