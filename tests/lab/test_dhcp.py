"""Real clients are told what the files say, nobody else hears of it, and nobody misses a controller that is away."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from controller import config
from controller.model.address import link_local, router_mac
from tests.lab.conftest import Bring
from tests.lab.guests import Guest
from tests.lab.net import Heard, Net
from tests.scenarios.labs import ask, wait_until, write

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: asking
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 1000-1099}
"""
RED = """\
networks:
  web: {cidr: [10.0.1.0/24, 'fd00:1::/64'], dns: [10.0.9.53, 'fd00:9::53'], domain: red.example.org, lease: 60s}
  slaac: {cidr: 'fd00:2::/64', ipv6: slaac}
  half: {cidr: 'fd00:3::/64', ipv6: stateless, dns: 'fd00:9::53', domain: red.example.org}
  mute: {cidr: 10.0.4.0/24, dhcp: false}
security_groups:
  shut: {egress: []}
ports:
  web1: {network: web, ip: [10.0.1.11, 'fd00:1::11'], host: hv1}
  web2: {network: web, ip: [10.0.1.12, 'fd00:1::12'], host: hv1, security_groups: [shut]}
  open1: {network: web, ip: [10.0.1.15, 'fd00:1::15'], host: hv1, port_security: false}
  vm: {network: mute, ip: 10.0.4.13, host: hv1, trunk: {5: {network: web, ip: [10.0.1.16, 'fd00:1::16']}}}
  near: {network: web, ip: [10.0.1.13, 'fd00:1::13'], host: hv1, port_security: false}
  far: {network: web, ip: [10.0.1.14, 'fd00:1::14'], host: hv2, port_security: false}
  slaac1: {network: slaac, host: hv1}
  slaac2: {network: slaac, host: hv2}
  half1: {network: half, host: hv1}
  mute1: {network: mute, ip: 10.0.4.11, host: hv1}
  mute2: {network: mute, ip: 10.0.4.12, host: hv2, port_security: false}
routers:
  main: {networks: [web, slaac, half], routes: [{to: 10.9.0.0/16, via: 10.0.1.14}]}
"""
FILES = {"fabric.yaml": FABRIC, "tenants/red.yaml": RED}
ASKING = ("red/web1", "red/web2", "red/open1", "red/vm:5", "red/slaac1", "red/half1", "red/mute1")
LINK = str(link_local(router_mac("red/web")))

DHCLIENT = ("dhclient", "-v", "-1", "eth0")
DHCLIENT_6 = ("dhclient", "-6", "-v", "-1", "eth0")
UDHCPC = ("udhcpc", "-i", "eth0", "-f", "-O", "mtu")
DHCPCD = ("dhcpcd", "-d", "-A", "--waitip=4", "--waitip=6", "-t", "30", "eth0")


def is_dhcp_or_ra(frame: bytes) -> bool:
    """Whether a frame is DHCP's, DHCPv6's or a router's or about one, also inside a tunnel."""
    ports = (b"\0\x44\0\x43", b"\0\x43\0\x44", b"\x02\x22\x02\x23", b"\x02\x23\x02\x22")
    for start in (0, 50):  # The outer headers of VXLAN have 50 bytes.
        kind, rest = frame[start + 12 : start + 14], frame[start + 14 :]
        if kind == b"\x08\0" and rest[9:10] == b"\x11" and rest[20:24] in ports:
            return True
        if kind == b"\x86\xdd" and rest[6:7] == b"\x11" and rest[40:44] in ports:
            return True
        if kind == b"\x86\xdd" and rest[6:7] == b"\x3a" and rest[40:41] in (b"\x85", b"\x86"):
            return True
    return False


@pytest.mark.parametrize("client", [DHCLIENT, (*UDHCPC, "-q", "-n"), DHCPCD], ids=lambda argv: argv[0])
def test_a_client_is_told_all_that_the_files_say(lab: Bring, tmp_path: Path, client: tuple[str, ...]) -> None:
    """Address, router, MTU, name servers, domain; and, if it knows the option, static routes."""
    web1 = Guest(lab(FILES, asking=ASKING), "red/web1", tmp_path)
    web1.set_mtu(1300)
    web1.run(*client)
    assert web1.addresses(4) == {"10.0.1.11"}
    routes = {"default": "10.0.1.1", "10.0.1.0/24": None} | ({} if "udhcpc" in client else {"10.9.0.0/16": "10.0.1.14"})
    assert web1.routes(4) == routes
    assert {"domain red.example.org", "nameserver 10.0.9.53"} <= set(web1.resolv_conf)
    assert client is DHCPCD or web1.mtu == 1450, "dhcpcd gives the MTU to its routes"
    assert client[0] == "udhcpc" or web1.name.partition(".")[0] == "web1"
    assert web1.net.ping("red/web1", "red/far")


@pytest.mark.parametrize(("port", "last"), [("red/open1", 15), ("red/vm:5", 16)])
def test_ports_without_port_security_and_subports_ask_as_well(lab: Bring, tmp_path: Path, port: str, last: int) -> None:
    guest = Guest(lab(FILES, asking=ASKING), port, tmp_path)
    guest.run(*DHCPCD)
    assert guest.addresses(4) == {f"10.0.1.{last}"}
    assert guest.addresses(6) == {f"fd00:1::{last}"}
    assert (guest.routes(4)["default"], guest.routes(6)["default"]) == ("10.0.1.1", LINK)


def test_a_lease_is_renewed_by_asking_the_router_itself(lab: Bring, tmp_path: Path) -> None:
    """Its address answers for its MAC, as a router's does."""
    web1 = Guest(lab(FILES, asking=ASKING), "red/web1", tmp_path)
    said = web1.start(*UDHCPC)
    wait_until(lambda: "lease of 10.0.1.11 obtained" in said.read_text(), "a lease")

    def renewed() -> str:
        before = len(said.read_text())
        web1.tell(signal.SIGUSR1)
        wait_until(lambda: "lease of 10.0.1.11 obtained" in said.read_text()[before:], "the lease is renewed")
        return said.read_text()[before:]

    try:
        assert "sending renew to server 10.0.1.1" in renewed()
        # It waits for three seconds, which a busy machine may need; then it asks everybody.
        wait_until(lambda: "broadcasting" not in renewed(), "the router itself answers in time")
    finally:
        web1.end()


@pytest.mark.parametrize("client", [DHCLIENT_6, DHCPCD], ids=lambda argv: argv[0])
def test_a_client_of_dhcpv6_is_told_its_address_and_the_router(
    lab: Bring, tmp_path: Path, client: tuple[str, ...]
) -> None:
    web1 = Guest(lab(FILES, asking=ASKING), "red/web1", tmp_path)
    wait_until(lambda: "default" in web1.routes(6), "the kernel has been told of a router")
    web1.run(*client)
    wait_until(lambda: web1.addresses(6) == {"fd00:1::11"}, "the address")
    assert web1.routes(6)["default"] == LINK
    assert "nameserver fd00:9::53" in web1.resolv_conf
    assert any("red.example.org" in line for line in web1.resolv_conf)
    assert web1.net.ping("red/web1", "red/far", version=6)


def test_a_kernel_makes_its_address_of_what_the_router_says(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING)
    slaac1 = Guest(net, "red/slaac1", tmp_path)
    wait_until(lambda: "default" in slaac1.routes(6), "the kernel has been told of a router")
    wait_until(lambda: slaac1.addresses(6) == {net.address("red/slaac1", 6)}, "the address of the files")
    assert slaac1.lifetime("default") > 65000
    write(net.lab.folder / "tenants" / "red.yaml", RED.replace("fd00:2::", "fd00:5::"))
    moved = net.address("red/slaac1", 6).replace("fd00:2:", "fd00:5:")
    wait_until(lambda: slaac1.preferred(6) == {moved}, "the former prefix is given up")


def test_h11_an_interface_that_is_plugged_later_makes_its_address_and_is_reached(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING, without=("red/slaac1",))
    net.plug("red/slaac1")
    slaac1 = Guest(net, "red/slaac1", tmp_path)
    wait_until(lambda: slaac1.addresses(6) == {net.address("red/slaac1", 6)}, "the address of the files", 30)
    assert net.ping("red/slaac2", "red/slaac1", version=6)


def test_a13_a_port_that_may_send_nothing_leases_its_address(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING)
    web2 = Guest(net, "red/web2", tmp_path)
    web2.run(*UDHCPC, "-q", "-n")
    assert web2.addresses(4) == {"10.0.1.12"}
    assert not net.ping("red/web2", "red/far")


def test_a_kernel_with_its_own_address_is_told_the_rest_by_dhcpv6(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING)
    half1 = Guest(net, "red/half1", tmp_path)
    wait_until(lambda: half1.addresses(6) == {net.address("red/half1", 6)}, "the address of the files")
    half1.run("dhclient", "-6", "-S", "-v", "-1", "eth0")
    assert {"nameserver fd00:9::53", "search red.example.org."} <= set(half1.resolv_conf)


def test_a_client_with_a_lease_from_elsewhere_is_told_no_and_gets_the_right_one(lab: Bring, tmp_path: Path) -> None:
    web1 = Guest(lab(FILES, asking=ASKING), "red/web1", tmp_path)
    (web1.leases / "dhclient.leases").write_text(
        """lease { interface "eth0"; fixed-address 10.0.1.99; option subnet-mask 255.255.255.0;
        option dhcp-server-identifier 10.0.1.1; renew 2 2037/01/01 00:00:00; rebind 2 2037/01/01 00:00:00;
        expire 2 2037/01/01 00:00:00; }"""
    )
    said = web1.run(*DHCLIENT)
    assert "DHCPREQUEST for 10.0.1.99" in said
    assert "DHCPNAK from 10.0.1.1" in said
    assert web1.addresses(4) == {"10.0.1.11"}


def test_a_lease_lives_on_while_the_controller_is_away_and_is_renewed_when_it_is_back(
    lab: Bring, tmp_path: Path
) -> None:
    net = lab(FILES, asking=ASKING)
    web1 = Guest(net, "red/web1", tmp_path)
    said = web1.start(*UDHCPC)
    wait_until(lambda: "lease of 10.0.1.11 obtained" in said.read_text(), "a lease")
    wait_until(lambda: "default" in web1.routes(6), "a router")
    net.lab.stop_controller()
    web1.tell(signal.SIGUSR1)
    wait_until(lambda: "renew" in said.read_text(), "the client asks again")
    assert net.ping("red/web1", "red/far")
    assert web1.addresses(4) == {"10.0.1.11"}
    assert web1.lifetime("default") > 65000
    net.lab.start_controller()
    net.lab.wait_in_sync()
    wait_until(lambda: said.read_text().count("lease of 10.0.1.11 obtained") >= 2, "the lease is renewed", 60)
    web1.end()


def test_nobody_else_hears_a_question_or_an_answer(lab: Bring, tmp_path: Path) -> None:
    """Not the port beside it, not the one on another host, and not the wire between the hosts."""
    net = lab(FILES, asking=ASKING)
    web1 = Guest(net, "red/web1", tmp_path)
    wire = net.lab.host_namespace("hv1")
    with net.listen("red/near") as near, net.listen("red/far") as far, Heard(wire) as between:
        web1.run(*DHCPCD)
        assert net.ping("red/web1", "red/far")
        heard = {
            name: [each for each in ears.frames if is_dhcp_or_ra(each)] for name, ears in listeners(near, far, between)
        }
    assert between.frames, "the ping went this way"
    assert heard["between"] == heard["far"] == []
    # Its own advertisement, which nobody asked for, is all that a router's port hears.
    assert [each for each in heard["near"] if each[54:55] != b"\x86"] == []


def listeners(near: Heard, far: Heard, between: Heard) -> list[tuple[str, Heard]]:
    """Have all that was heard read, by where it was."""
    named = [("near", near), ("far", far), ("between", between)]
    for _, ears in named:
        ears.find(lambda _: False, 0.2)
    return named


def test_on_a_network_without_dhcp_others_hear_the_question(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING)
    mute1 = Guest(net, "red/mute1", tmp_path)
    with net.listen("red/mute2") as heard:
        mute1.start(*UDHCPC)
        heard.wait_for(is_dhcp_or_ra, 10)
    mute1.end()
    assert mute1.addresses(4) == set()
    assert "dhcp" not in ask(net, "status")["questions"]["asked"]


def test_a_port_that_floods_questions_leaves_the_others_their_answers(lab: Bring, tmp_path: Path) -> None:
    net = lab(FILES, asking=ASKING)
    web1 = Guest(net, "red/web1", tmp_path)
    question = discover(net, "red/web2")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        net.send("red/web2", question)
    asked = ask(net, "status")["questions"]["asked"]["dhcp"]
    assert asked < 50 + 50 * 6, "no more than the port's meter lets through"
    net.send("red/web2", question)
    web1.run(*UDHCPC, "-q", "-n")
    assert web1.addresses(4) == {"10.0.1.11"}


def discover(net: Net, port: str) -> bytes:
    """What a client of a port broadcasts that has no address."""
    topology = config.load(net.lab.folder).topology
    assert topology is not None
    mac = topology.ports[port].mac.to_bytes(6, "big")
    bootp = bytes((1, 1, 6, 0)) + bytes(24) + mac + bytes(202) + bytes((99, 130, 83, 99, 53, 1, 1, 255))
    udp = b"\0\x44\0\x43" + (8 + len(bootp)).to_bytes(2, "big") + bytes(2) + bootp
    ip = b"\x45\0" + (20 + len(udp)).to_bytes(2, "big") + bytes(4) + b"\x40\x11\x3a\xae" + bytes(4) + b"\xff" * 4
    return b"\xff" * 6 + mac + b"\x08\0" + ip + udp
