"""Security groups and port security with real kernels: files are edited while ports talk, and rules hold from then on.

One lab serves all stories; each writes the tenant's file anew. That something does not arrive is known when an ARP
announcement, sent later on the same path, has arrived without it.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from controller import config
from controller.lab.namespaces import inside, set_kernel
from controller.lab.prober import ICMP
from controller.model.entities import Topology
from tests.lab.net import Net
from tests.ovs.frames import frame
from tests.scenarios.frames import ARP_REPLY, ARP_REQUEST, ARP_TYPE, arp, own, who_has
from tests.scenarios.labs import ask, running, write
from tests.scenarios.talk import request

pytestmark = pytest.mark.lab

FABRIC = """\
fabric: town
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
tenants:
  red: {segments: 5000-5099}
"""
PLACES = {"server": ("hv1", 2), "near": ("hv1", 3), "far": ("hv2", 4), "late": ("hv2", 5), "gate": ("hv2", 6)}
SERVER, NEAR, FAR, LATE, GATE = (f"red/{name}" for name in PLACES)
VERSIONS = (4, 6)
PING = "{protocol: icmp}, {protocol: icmpv6}"
NOTHING: Mapping[str, str] = {}

_unknown = itertools.cycle(range(150, 250))


def red(groups: str = "", members: Mapping[str, str] = NOTHING) -> str:
    """The tenant's file: `members` says a port's groups (none unless given) and what else there is to say of it."""
    lines = ["networks:", "  n: {cidr: [10.8.0.0/24, 'fd00:8::/64']}"]
    if groups:
        lines += ["security_groups:", *(f"  {line}" for line in groups.strip().splitlines())]
    lines.append("ports:")
    for name, (place, last) in PLACES.items():
        said = members.get(name, "security_groups: []")
        addresses = f"[10.8.0.{last}, 'fd00:8::{last}']"
        lines.append(f"  {name}: {{network: n, host: {place}, ip: {addresses}{said and ', '}{said}}}")
    return "\n".join([*lines, ""])


class Town:
    """The lab, its files, and what does not arrive."""

    def __init__(self, net: Net) -> None:
        self.net = net
        self.topology = self._load()

    def edit(self, groups: str = "", members: Mapping[str, str] = NOTHING) -> None:
        """Write the tenant's file and wait until the switches hold what it says."""
        write(self.net.lab.folder / "tenants" / "red.yaml", red(groups, members))
        report = ask(self.net, "apply")
        assert report["accepted"], report["problems"]
        self.net.lab.wait_in_sync()
        self.topology = self._load()

    def refuses(self, source: str, target: str, what: str, *, version: int = 4) -> bool:
        """Whether a packet that would open a conversation does not arrive."""
        return not self.arrives(source, target, frame(request(self.topology, source, target, what, version=version)))

    def arrives(self, source: str, target: str, sent: bytes) -> bool:
        """Whether a frame arrives before an announcement that was sent after it."""
        me = self.topology.ports[source]
        end = arp(ARP_REQUEST, (me.mac, str(own(me))), (0, f"10.8.0.{next(_unknown)}"))
        with self.net.listen(target) as ear:
            self.net.send(source, sent)
            self.net.send(source, end)
            ear.wait_for(lambda got: got == end)
            return sent in ear.frames

    def run(self, port: str, *command: str) -> str:
        """Run a command as a port; it must succeed."""
        done = self.net.lab.exec_port(port, command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def _load(self) -> Topology:
        topology = config.load(self.net.lab.folder).topology
        assert topology is not None
        return topology


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    files = {"fabric.yaml": FABRIC, "tenants/red.yaml": red()}
    with running(tmp_path_factory.mktemp("town"), files, without=(LATE,)) as net:
        net.lab.wait_in_sync()
        yield Town(net)


def test_a1_ping_needs_a_rule_and_stops_with_it(town: Town) -> None:
    """A running port without rules is not pinged; with the rule it is, from its host and another; without it not anew."""
    for rule in ("", PING, ""):
        town.edit(f"g: {{ingress: [{rule}]}}", {"server": "security_groups: [g]"})
        for client in (NEAR, FAR):
            for version in VERSIONS:
                if rule:
                    assert town.net.ping(client, SERVER, version=version)
                else:
                    assert town.refuses(client, SERVER, "icmp", version=version)


def test_a11_ssh_passes_by_its_own_rule_where_the_prefix_for_ping_does_not_hold_the_peer(town: Town) -> None:
    rules = "{protocol: icmp, from: {cidr: 10.8.0.3/32}}, {protocol: tcp, ports: 22}"
    town.edit(f"g: {{ingress: [{rules}]}}", {"server": "security_groups: [g]"})
    assert town.refuses(FAR, SERVER, "icmp")
    assert town.net.tcp(FAR, SERVER, 22)
    assert town.net.ping(NEAR, SERVER)


def test_a13_the_last_group_leaves_a_running_port(town: Town) -> None:
    """Ping worked and new ones do not; the port still answers ARP and speaks itself."""
    members = {"server": "security_groups: [g]", "far": "security_groups: [g]"}
    town.edit(f"g: {{ingress: [{PING}]}}", members)
    assert town.net.ping(NEAR, SERVER)
    town.edit(f"g: {{ingress: [{PING}]}}", {"far": "security_groups: [g]"})
    for version in VERSIONS:
        assert town.refuses(NEAR, SERVER, "icmp", version=version)
        assert town.net.ping(SERVER, FAR, version=version)
    server, address = town.topology.ports[SERVER], str(own(town.topology.ports[SERVER]))
    with town.net.listen(NEAR) as ear:
        # Who is asked without a sender's address answers for itself: Weft answers those that have one.
        town.net.send(NEAR, who_has(town.topology, NEAR, address, sender="0.0.0.0"))  # noqa: S104 - an address in a packet.
        answer = ear.wait_for(lambda got: got[12:14] == ARP_TYPE and got[20:22] == ARP_REPLY.to_bytes(2, "big"))
        assert answer[22:28] == server.mac.to_bytes(6, "big")


def test_a15_members_of_a_group_meet_only_if_a_rule_lets_them(town: Town) -> None:
    """Out: metadata, DHCP, ping; in: SSH. Members may not ping each other until the group lets itself in, then both ways."""
    out = "{protocol: tcp, ports: 80, to: {cidr: 169.254.169.254/32}}, {protocol: udp, ports: 67}, " + PING
    members = dict.fromkeys(("server", "near", "far"), "security_groups: [g]")
    for within in ("", ", {from: {group: g}}"):
        town.edit(f"g: {{ingress: [{{protocol: tcp, ports: 22}}{within}], egress: [{out}]}}", members)
        for source, target in ((SERVER, NEAR), (NEAR, SERVER), (SERVER, FAR), (FAR, SERVER)):
            if within:
                assert town.net.ping(source, target)
                assert town.net.ping(source, target, version=6)
            else:
                assert town.refuses(source, target, "icmp")
                assert town.refuses(source, target, "icmp", version=6)
            assert town.refuses(source, target, "tcp 22"), "it may come in, but the other may not send it"
    assert town.net.tcp(GATE, SERVER, 22)


def test_the_default_group_is_in_from_its_own_and_everything_out(town: Town) -> None:
    """Ports that name no groups: they talk among each other; from a port outside nothing gets in, to it all gets out."""
    town.edit("open: {ingress: [{}]}", {"near": "", "far": "", "server": "security_groups: [open]"})
    for version in VERSIONS:
        assert town.net.tcp(NEAR, FAR, 80, version=version)
        assert town.net.ping(FAR, NEAR, version=version)
        assert town.net.udp(FAR, SERVER, 53, version=version)
        assert town.refuses(SERVER, FAR, "udp 53", version=version)
        assert town.refuses(SERVER, NEAR, "icmp", version=version)


def test_b3_b11_a_new_member_is_let_in_at_once_and_guarded_from_its_first_packet(town: Town) -> None:
    """A port that the files name, with groups, is plugged in on another host while it is being spoken to.

    Nothing that its groups do not allow reaches it at any moment; the server's rule for its group holds at once, and no
    rule is touched. When that rule goes, new connections fail.
    """
    rule = "{protocol: tcp, ports: 3355, from: {group: clients}}"
    groups = "g: {{ingress: [{}]}}\nclients: {{ingress: [{{protocol: tcp, ports: 22}}]}}"
    members = {
        "server": "security_groups: [g]",
        "far": "security_groups: [clients]",
        "late": "security_groups: [clients]",
    }
    town.edit(groups.format(rule), members)
    assert town.net.tcp(FAR, SERVER, 3355)
    assert town.refuses(NEAR, SERVER, "tcp 3355")
    over = threading.Event()

    def speak() -> None:
        while not over.wait(0.005):
            town.net.send(NEAR, frame(request(town.topology, NEAR, LATE, "udp 7")))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        town.net.plug(LATE)
        assert town.net.tcp(LATE, SERVER, 3355)
        assert town.net.tcp(NEAR, LATE, 22), "what comes after all those datagrams, on their path"
    finally:
        over.set()
        speaker.join()
    heads, numbers = (
        line.split() for line in town.run(LATE, "cat", "/proc/net/snmp").splitlines() if line.startswith("Udp:")
    )
    assert int(numbers[heads.index("NoPorts")]) == 0, "a datagram for a number on which nobody listens has arrived"
    town.edit(groups.format(""), members)
    for client in (FAR, LATE):
        assert town.refuses(client, SERVER, "tcp 3355")


def test_b9_a_port_loses_one_of_its_groups(town: Town) -> None:
    groups = (
        "g0: {ingress: [{protocol: tcp, ports: 22, from: {group: g0}}]}\ng1: {ingress: [{protocol: tcp, ports: 80}]}"
    )
    town.edit(groups, {"server": "security_groups: [g0, g1]", "far": "security_groups: [g0]"})
    assert town.net.tcp(FAR, SERVER, 22)
    assert town.net.tcp(NEAR, SERVER, 80)
    town.edit(groups, {"server": "security_groups: [g1]", "far": "security_groups: [g0]"})
    assert town.refuses(FAR, SERVER, "tcp 22")
    assert town.net.tcp(NEAR, SERVER, 80)
    assert town.net.tcp(FAR, SERVER, 80)


def connect(town: Town, source: str, target: str, number: int, stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    """A TCP connection, open until the stack is."""
    with inside(town.net.lab.port_namespace(target)):
        listener = stack.enter_context(socket.create_server(("", number)))
    with inside(town.net.lab.port_namespace(source)):
        client = stack.enter_context(socket.create_connection((town.net.address(target), number), 5))
    server = stack.enter_context(listener.accept()[0])
    server.settimeout(5)
    return client, server


def test_d9_port_security_off_and_on_again_around_an_open_session(town: Town) -> None:
    """The SSH session lives through it all. Off: everything gets in, also forged out; on: the rule and nothing else."""
    groups, rule = "ssh: {ingress: [{protocol: tcp, ports: 22}]}\nopen: {ingress: [{}]}", "security_groups: [ssh]"
    listening = {"far": "security_groups: [open]"}
    town.edit(groups, {"server": rule, **listening})
    with ExitStack() as stack:
        client, server = connect(town, FAR, SERVER, 22, stack)
        for secure in (True, False, True):
            town.edit(groups, {"server": f"{rule}, port_security: {str(secure).lower()}", **listening})
            client.send(b"still there?")
            assert server.recv(64) == b"still there?"
            for client_port in (NEAR, FAR):
                assert town.refuses(client_port, SERVER, "udp 53") is secure
            forged = frame(request(town.topology, SERVER, FAR, "udp 53", src="10.8.0.77"))
            assert town.arrives(SERVER, FAR, forged) is not secure


def test_d1_a_vm_that_changes_its_mac_is_cut_off(town: Town) -> None:
    """The kernel speaks from a new MAC: none of its frames arrives, though what comes from the old one does; then all is well."""
    town.edit("open: {ingress: [{}]}", {"server": "security_groups: [open]", "near": "security_groups: [open]"})
    mac = town.net.lab.plan.ports[NEAR].mac
    new = bytes.fromhex("020000009999")
    town.run(NEAR, "ip", "link", "set", "eth0", "address", new.hex(":"))
    try:
        with town.net.listen(SERVER) as ear:
            assert (
                town.net.lab.exec_port(NEAR, ["ping", "-c2", "-i0.2", "-W1", town.net.address(SERVER)]).returncode != 0
            )
            me = town.topology.ports[NEAR]
            end = arp(ARP_REQUEST, (me.mac, str(own(me))), (0, "10.8.0.251"))
            town.net.send(NEAR, end)
            ear.wait_for(lambda got: got == end)
            assert not [got for got in ear.frames if got[6:12] == new]
    finally:
        town.run(NEAR, "ip", "link", "set", "eth0", "address", mac)
    assert town.net.ping(NEAR, SERVER)
    assert town.net.ping(SERVER, NEAR)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", [NEAR, FAR], ids=["same-host", "two-hosts"])
def test_c7_a_ping_larger_than_the_mtu_passes_in_fragments(town: Town, client: str, version: int) -> None:
    """With "don't fragment" it cannot be sent; without it passes both ways, by a rule for echo requests alone."""
    echo = "{protocol: icmp, type: 8}, {protocol: icmpv6, type: 128}"
    town.edit(f"g: {{ingress: [{echo}], egress: []}}", {"server": "security_groups: [g]"})
    address = town.net.address(SERVER, version)
    large = ["ping", "-c2", "-i0.2", "-W2", "-s3000"]
    assert town.net.lab.exec_port(client, [*large, "-Mdo", address]).returncode != 0
    town.run(client, *large, "-Mdont", address)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", [NEAR, FAR], ids=["same-host", "two-hosts"])
def test_c7_a_connection_may_begin_with_fragments(town: Town, client: str, version: int) -> None:
    """A datagram of 4,000 bytes is the first that is sent; its second fragment does not say which port it is for."""
    town.edit("g: {ingress: [{protocol: udp, ports: 53}], egress: []}", {"server": "security_groups: [g]"})
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    address, large = town.net.address(SERVER, version), bytes(range(250)) * 16
    with ExitStack() as stack:
        servers = {}
        for number in (54, 53):
            with inside(town.net.lab.port_namespace(SERVER)):
                servers[number] = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            servers[number].bind(("", number))
            servers[number].settimeout(5)
        with inside(town.net.lab.port_namespace(client)):
            sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sender.settimeout(5)
        for number in servers:
            sender.sendto(large, (address, number))
        got, where = servers[53].recvfrom(1 << 16)
        assert got == large
        servers[54].setblocking(False)
        with pytest.raises(BlockingIOError):
            servers[54].recv(1 << 16)
        servers[53].sendto(large, where)
        assert sender.recv(1 << 16) == large


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("client", [NEAR, FAR], ids=["same-host", "two-hosts"])
def test_a_closed_port_says_so_without_a_rule_for_icmp(town: Town, client: str, version: int) -> None:
    """Nobody listens at the number that the rule opens: the client's kernel learns of it from the server's error."""
    town.edit("g: {ingress: [{protocol: udp, ports: 5000}], egress: []}", {"server": "security_groups: [g]"})
    with (
        inside(town.net.lab.port_namespace(client)),
        socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sender,
    ):
        sender.settimeout(5)
        sender.connect((town.net.address(SERVER, version), 5000))
        sender.send(b"anybody?")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(64)


def test_c3_a_gateway_says_that_there_is_no_way(town: Town) -> None:
    """A port that may only ping out asks for an address that its gateway knows no way to: the gateway's word gets in."""
    caged = "caged: {egress: [{protocol: icmp}]}\ngate: {ingress: [{protocol: icmp}]}"
    town.edit(caged, {"near": "security_groups: [caged]", "gate": "security_groups: [gate]"})
    with inside(town.net.lab.port_namespace(GATE)):
        set_kernel({"ipv4/ip_forward": 1})
    town.run(GATE, "ip", "route", "replace", "unreachable", "198.51.100.0/24")
    town.run(NEAR, "ip", "route", "replace", "198.51.100.0/24", "via", town.net.address(GATE))
    said = town.net.lab.exec_port(NEAR, ["ping", "-c1", "-W3", "198.51.100.7"]).stdout
    assert f"From {town.net.address(GATE)}" in said
    assert "Unreachable" in said
    assert town.refuses(GATE, NEAR, "icmp")


def test_a_subnet_behind_a_router_vm(town: Town) -> None:
    """The port may send for 192.168.50.0/24 once the files say so; from there packets pass by its groups."""
    inner = "192.168.50.1"
    town.run(GATE, "ip", "addr", "replace", f"{inner}/24", "dev", "lo")
    town.run(NEAR, "ip", "route", "replace", "192.168.50.0/24", "via", town.net.address(GATE))
    groups = "site: {ingress: [{protocol: icmp}]}\nweb: {ingress: [{protocol: tcp, ports: 80, from: {group: site}}]}"
    members = {"near": "security_groups: [web]"}
    for more, works in (("", False), (", allowed_addresses: [{ip: 192.168.50.0/24}]", True)):
        town.edit(groups, {**members, "gate": f"security_groups: [site]{more}"})
        sent = frame(request(town.topology, GATE, NEAR, "tcp 80", src=inner))
        assert town.arrives(GATE, NEAR, sent) is works
    assert town.net.probe(NEAR, inner, ICMP).is_from(GATE)
