"""Port security: a port speaks with its own MAC and addresses and those allowed to it, and is no server of the network's.

After Neutron's tests. `NEAR` is under guard and in no group; what it sends honestly passes, what it forges reaches nobody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv6Address, ip_address

import pytest

from controller.model.address import BROADCAST_MAC, format_mac, link_local
from controller.model.entities import Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import allow, group
from tests.ovs.frames import Step, frame
from tests.scenarios.frames import ALL_NODES, ARP_REPLY, ARP_REQUEST, arp, own, udp
from tests.scenarios.talk import Talk, answer_to, request
from tests.scenarios.town import CLIENTS, FAR, NEAR, OTHER, PORTS, SERVER, town

pytestmark = pytest.mark.ovs

VERSIONS = (4, 6)
STRANGE = 0x020000009999
UNKNOWN = "10.0.0.77"
VIRTUAL, VIRTUAL6, VRRP_MAC = "10.0.0.100", "fd00::100", 0x00005E000101
EVERYONE_ELSE = {SERVER, FAR, OTHER}
LLDP, RARP = 0x88CC, 0x8035


@pytest.fixture
def open_town(talk: Talk) -> Talk:
    """Everybody may be reached; only the guard stands between the ports."""
    talk.enforce(open_to_all())
    return talk


def open_to_all(
    *, allowed: Mapping[str, Sequence[tuple[str, str | None]]] | None = None, insecure: Sequence[str] = ()
) -> Topology:
    everyone = {name: ["red/open"] for name in PORTS}
    return town(group("red/open", ingress=[allow()]), members=everyone, allowed=allowed, insecure=insecure)


def heard(talk: Talk, sender: str, sent: bytes) -> set[str]:
    """Return who receives a frame, as it was sent."""
    deliveries = talk.net.send(sender, sent)
    assert all(frames == [sent] for frames in deliveries.values())
    return set(deliveries)


def advertisement(
    talk: Talk, sender: str, target: str, *, hardware: int | None = None, src: str | None = None
) -> bytes:
    """A neighbour advertisement of a port that says whose address `target` is: the port's own MAC unless given."""
    port = talk.topology.ports[sender]
    return frame(
        Packet(
            sender,
            port.mac,
            ALL_NODES,
            wire.IPV6,
            ip_address(src) if src else own(port, 6),
            IPv6Address("ff02::1"),
            wire.ICMPV6,
            icmp_type=wire.NEIGHBOUR_ADVERTISEMENT,
            target=ip_address(target),
            hardware=port.mac if hardware is None else hardware,
        )
    )


def test_d1_a_port_that_changes_its_mac_is_cut_off(open_town: Talk) -> None:
    """From the new MAC nothing gets out, not even ARP or discovery; what is for it goes nowhere; with the old one all is well."""
    talk = open_town
    me = talk.topology.ports[NEAR]
    for target in (SERVER, FAR):
        for version in VERSIONS:
            for what in ("icmp", "udp 53", "tcp 80"):
                asked = request(talk.topology, NEAR, target, what, version=version)
                assert talk.send(replace(asked, eth_src=STRANGE)) == {}
                assert talk.send(answer_to(replace(asked, eth_src=STRANGE), target)) == {}, "and nothing in"
                assert talk.carries(asked, target)
    changed = (
        arp(ARP_REQUEST, (STRANGE, str(own(me))), (0, UNKNOWN)),
        advertisement(talk, NEAR, "fd00::2", hardware=STRANGE),
    )
    for sent in changed:
        assert heard(talk, NEAR, sent[:6] + STRANGE.to_bytes(6, "big") + sent[12:]) == set()


def test_d3_arp_with_its_own_mac_and_address_passes_without_any_rule(talk: Talk) -> None:
    """No port has a rule; requests reach all others, replies the one they are for, both ways."""
    talk.enforce(town(group("red/empty", egress=[]), members={name: ["red/empty"] for name in PORTS}))
    for sender, other in ((NEAR, SERVER), (SERVER, NEAR), (NEAR, FAR), (FAR, NEAR)):
        me, them = talk.topology.ports[sender], talk.topology.ports[other]
        mine, theirs = (me.mac, str(own(me))), (them.mac, str(own(them)))
        assert heard(talk, sender, arp(ARP_REQUEST, mine, (0, UNKNOWN))) == set(PORTS) - {sender}
        assert heard(talk, sender, arp(ARP_REPLY, mine, theirs, eth_dst=them.mac)) == {other}
        assert heard(talk, sender, udp(talk.topology, sender, other)) == set(), "and nothing else does"


def test_arp_that_speaks_of_somebody_else_is_dropped(open_town: Talk) -> None:
    """A wrong Ethernet source, a wrong sender MAC, a wrong sender address, alone and together, as request and as reply."""
    talk = open_town
    me, them = talk.topology.ports[NEAR], talk.topology.ports[SERVER]
    my_ip, their_ip = str(own(me)), str(own(them))
    for operation, target in ((ARP_REQUEST, BROADCAST_MAC), (ARP_REPLY, talk.topology.ports[FAR].mac)):
        for eth_src, sender in (
            (them.mac, (me.mac, my_ip)),
            (me.mac, (them.mac, my_ip)),
            (me.mac, (me.mac, their_ip)),
            (me.mac, (me.mac, UNKNOWN)),
            (me.mac, (them.mac, their_ip)),
            (them.mac, (them.mac, their_ip)),
        ):
            forged = arp(operation, sender, (0, UNKNOWN), eth_src=eth_src, eth_dst=target)
            assert heard(talk, NEAR, forged) == set(), (operation, sender)
        honest = arp(operation, (me.mac, my_ip), (0, UNKNOWN), eth_dst=target)
        assert heard(talk, NEAR, honest) == (EVERYONE_ELSE if operation == ARP_REQUEST else {FAR})


def test_ip_from_an_address_that_is_not_the_ports_is_dropped(open_town: Talk) -> None:
    talk = open_town
    for version, forged in (
        (4, ("10.0.0.1", UNKNOWN, "0.0.0.0", "192.0.2.1")),  # noqa: S104 - an address in a packet.
        (6, ("fd00::1", "fd00::77", "::", "fe80::1")),
    ):
        for target in (SERVER, FAR):
            for src in forged:
                for what in ("udp 53", "icmp"):
                    wrong = request(talk.topology, NEAR, target, what, version=version, src=src)
                    assert talk.send(wrong) == {}, src
            assert talk.passes(NEAR, target, "udp 53", version=version)
    hop = str(link_local(talk.topology.ports[NEAR].mac))
    local = request(talk.topology, NEAR, SERVER, "udp 53", version=6, src=hop)
    assert talk.send(local) == {SERVER: [frame(local)]}, "its link-local address is its own"


def test_d5_an_advertisement_is_of_an_own_or_allowed_address(open_town: Talk) -> None:
    """Neighbour advertisements: of another's address or with another's MAC dropped; of an own or an allowed one heard by all."""
    talk = open_town
    mine, theirs = "fd00::2", "fd00::1"
    for wrong in (
        advertisement(talk, NEAR, theirs),
        advertisement(talk, NEAR, VIRTUAL6),
        advertisement(talk, NEAR, mine, hardware=STRANGE),
        advertisement(talk, NEAR, mine, src=theirs),
    ):
        assert heard(talk, NEAR, wrong) == set()
    assert heard(talk, NEAR, advertisement(talk, NEAR, mine)) == EVERYONE_ELSE
    talk.enforce(open_to_all(allowed={NEAR: [(VIRTUAL6, None)]}))
    assert heard(talk, NEAR, advertisement(talk, NEAR, VIRTUAL6)) == EVERYONE_ELSE
    assert heard(talk, NEAR, advertisement(talk, NEAR, theirs)) == set()


def test_d7_a_whole_subnet_as_allowed_address_leaves_everything_working(talk: Talk) -> None:
    """The server may use all addresses of its subnet: its own rules hold, others reach it and each other as before."""
    web = group("red/web", ingress=[allow("tcp", 80, far="red/staff")])
    members = {SERVER: ["red/web"], NEAR: ["red/staff"], FAR: ["red/staff"], OTHER: ["red/open"]}
    both: list[tuple[str, str | None]] = [("10.0.0.0/24", None), ("fd00::/64", None)]
    talk.enforce(
        town(
            web,
            group("red/staff", ingress=[allow("icmp", ethertype=4)]),
            group("red/open", ingress=[allow()]),
            members=members,
            allowed={SERVER: both},
        )
    )
    for version in VERSIONS:
        assert {name for name in CLIENTS if talk.passes(name, SERVER, "tcp 80", version=version)} == {NEAR, FAR}
        assert not talk.passes(NEAR, SERVER, "tcp 22", version=version)
        assert talk.passes(SERVER, OTHER, "tcp 22", version=version)
    assert talk.passes(NEAR, FAR, "icmp")
    assert talk.passes(OTHER, NEAR, "icmp")


def other_address(talk: Talk) -> Packet:
    """What a server would send from another address of its subnet."""
    return request(talk.topology, SERVER, OTHER, "udp 53", src=UNKNOWN)


def test_d7_with_the_subnet_allowed_any_of_its_addresses_may_be_used(open_town: Talk) -> None:
    assert open_town.send(other_address(open_town)) == {}
    open_town.enforce(open_to_all(allowed={SERVER: [("10.0.0.0/24", None)]}))
    assert open_town.send(other := other_address(open_town)) == {OTHER: [frame(other)]}
    outside = request(open_town.topology, SERVER, OTHER, "udp 53", src="10.0.1.77")
    assert open_town.send(outside) == {}


def test_d9_without_port_security_everything_passes_and_with_it_only_the_rules(talk: Talk) -> None:
    """Off: forged MAC and addresses, no rule needed, either way. On again: SSH by its rule, and nothing of all that."""
    ssh = group("red/ssh", ingress=[allow("tcp", 22)])
    ears = group("red/open", ingress=[allow()])
    for secure in (True, False, True):
        members = {SERVER: ["red/ssh"], FAR: ["red/open"], OTHER: ["red/open"]}
        talk.enforce(town(ssh, ears, members=members, insecure=[] if secure else [SERVER]))
        talk.net.forget()
        for client in CLIENTS:
            assert talk.passes(client, SERVER, "tcp 22")
            assert talk.passes(client, SERVER, "icmp") is not secure
        forged_ip = request(talk.topology, SERVER, FAR, "udp 53", src=UNKNOWN)
        assert (talk.send(forged_ip) != {}) is not secure
        forged_mac = replace(request(talk.topology, SERVER, FAR, "udp 53"), eth_src=STRANGE)
        assert (talk.send(forged_mac) != {}) is not secure
        claim = arp(ARP_REQUEST, (STRANGE, UNKNOWN), (0, UNKNOWN))
        assert (heard(talk, SERVER, claim) != set()) is not secure


@pytest.mark.parametrize(("version", "client", "server"), [(4, 68, 67), (6, 546, 547)])
def test_d11_a_client_may_always_ask_for_an_address(talk: Talk, version: int, client: int, server: int) -> None:
    """No rule either way: the question reaches a port that may be a server, with and without an address of its own."""
    talk.enforce(town(group("red/empty", egress=[]), members={NEAR: ["red/empty"]}, insecure=[FAR]))
    me = talk.topology.ports[NEAR]
    question = Packet(
        NEAR,
        me.mac,
        BROADCAST_MAC if version == 4 else 0x333300010002,
        wire.IPV4 if version == 4 else wire.IPV6,
        ip_address(0) if version == 4 else link_local(me.mac),
        ip_address("255.255.255.255" if version == 4 else "ff02::1:2"),
        wire.UDP,
        client,
        server,
    )
    renewal = replace(request(talk.topology, NEAR, FAR, "udp 0", version=version), sport=client, dport=server)
    for asked in (question, renewal):
        assert heard(talk, NEAR, frame(asked)) == {FAR}
    for wrong in (replace(question, sport=client + 5), replace(question, dport=53), replace(question, eth_src=STRANGE)):
        assert heard(talk, NEAR, frame(wrong)) == set()


def test_a_port_is_no_dhcp_server_and_no_router(open_town: Talk) -> None:
    """Offers, advertisements of routers and redirects from a guarded port reach nobody, also in fragments."""
    talk = open_town
    for version, client, server in ((4, 68, 67), (6, 546, 547)):
        offer = replace(request(talk.topology, NEAR, FAR, "udp 0", version=version), sport=server, dport=client)
        assert talk.send(offer) == {}
        assert talk.carries(replace(offer, sport=server + 1000), FAR)
    me = talk.topology.ports[NEAR]
    plain = replace(
        request(talk.topology, NEAR, FAR, "icmp", version=6),
        eth_dst=ALL_NODES,
        src=link_local(me.mac),
        dst=IPv6Address("ff02::1"),
    )
    for kind in (wire.ROUTER_ADVERTISEMENT, wire.REDIRECT):
        sent = frame(replace(plain, icmp_type=kind))
        assert heard(talk, NEAR, sent) == set()
        extra = bytes([wire.ICMPV6, 0, 0, 1, 0, 0, 0, kind])
        first = sent[:18] + (len(sent) - 54 + 8).to_bytes(2, "big") + b"\x2c" + sent[21:54] + extra + sent[54:]
        assert heard(talk, NEAR, first) == set()
    asked = replace(plain, icmp_type=wire.ROUTER_SOLICITATION, dst=IPv6Address("ff02::2"), eth_dst=0x333300000002)
    assert heard(talk, NEAR, frame(asked)) == EVERYONE_ELSE, "asking for a router is a client's right"


@pytest.mark.parametrize("ethertype", [LLDP, RARP, 0x8137, 0x0101])
def test_d13_other_ethertypes_are_dropped_unless_port_security_is_off(talk: Talk, ethertype: int) -> None:
    """Neither IP nor ARP: not from a guarded port, not to one, both ways between two that are not."""
    talk.enforce(open_to_all(insecure=[FAR, OTHER]))

    def strange(source: str, target: str) -> bytes:
        a, b = talk.topology.ports[source], talk.topology.ports[target]
        return frame(Packet(source, a.mac, b.mac, ethertype))

    for source, target in ((NEAR, SERVER), (NEAR, FAR), (FAR, NEAR)):
        assert heard(talk, source, strange(source, target)) == set(), (source, target)
    for source, target in ((FAR, OTHER), (OTHER, FAR)):
        assert heard(talk, source, strange(source, target)) == {target}


@pytest.mark.parametrize("mac", [None, VRRP_MAC], ids=["own-macs", "vrrp-mac"])
def test_an_address_moves_between_two_ports_that_are_allowed_it(talk: Talk, mac: int | None) -> None:
    """VRRP: either of the two may announce the address and send from it, nobody else may; what is for it reaches its holder.

    With a virtual MAC both may be meant, so both get it. Advertisements come from a port's own address, with the virtual MAC
    if there is one (RFC 5798, section 7.2): that is a pair of its own. The two hear each other by a rule for protocol 112.
    """
    shared = None if mac is None else format_mac(mac)
    pairs: dict[str, list[tuple[str, str | None]]] = {
        name: [(VIRTUAL, shared), (f"10.0.0.{PORTS[name][1]}", shared)] for name in (SERVER, FAR)
    }
    vrrp = group("red/vrrp", ingress=[allow(112, far="red/vrrp", ethertype=4), allow("tcp", 80)])
    ears = group("red/open", ingress=[allow()])
    members = {SERVER: ["red/vrrp"], FAR: ["red/vrrp"], NEAR: ["red/open"], OTHER: ["red/open"]}
    talk.enforce(town(vrrp, ears, members=members, allowed=pairs))
    for holder, backup in ((SERVER, FAR), (FAR, SERVER)):
        its_mac = mac or talk.topology.ports[holder].mac
        announcement = arp(ARP_REQUEST, (its_mac, VIRTUAL), (0, VIRTUAL))
        assert heard(talk, holder, announcement) == set(PORTS) - {holder}
        forged = arp(ARP_REQUEST, (talk.topology.ports[NEAR].mac, VIRTUAL), (0, VIRTUAL))
        assert heard(talk, NEAR, forged) == set()
        hello = replace(
            request(talk.topology, holder, backup, "112"),
            eth_src=its_mac,
            eth_dst=0x01005E000012,
            dst=ip_address("224.0.0.18"),
        )
        assert heard(talk, holder, frame(hello)) == {backup, NEAR, OTHER}, "who is open hears it too"
        asked = replace(request(talk.topology, NEAR, holder, "tcp 80"), eth_dst=its_mac, dst=ip_address(VIRTUAL))
        assert heard(talk, NEAR, frame(asked)) == ({holder} if mac is None else {holder, backup})
        answer = frame(answer_to(asked, holder), Step.ACCEPT)
        assert heard(talk, holder, answer) == {NEAR}
        closed = replace(request(talk.topology, NEAR, holder, "tcp 22"), eth_dst=its_mac, dst=ip_address(VIRTUAL))
        assert heard(talk, NEAR, frame(closed)) == set(), "the holder's rules hold for the address"


def test_an_allowed_address_is_asked_for_and_its_holder_answers(talk: Talk) -> None:
    """Weft does not answer for an address that moves: the question reaches all, and the reply of a port that may is let through."""
    talk.enforce(open_to_all(allowed={SERVER: [(VIRTUAL, None)], FAR: [(VIRTUAL, None)]}))
    asker, holder = talk.topology.ports[NEAR], talk.topology.ports[FAR]
    me = (asker.mac, str(own(asker)))
    assert heard(talk, NEAR, arp(ARP_REQUEST, me, (0, VIRTUAL))) == EVERYONE_ELSE
    assert heard(talk, FAR, arp(ARP_REPLY, (holder.mac, VIRTUAL), me, eth_dst=asker.mac)) == {NEAR}
    pretender = talk.topology.ports[OTHER]
    assert heard(talk, OTHER, arp(ARP_REPLY, (pretender.mac, VIRTUAL), me, eth_dst=asker.mac)) == set()


def test_a_subnet_behind_a_router_vm(talk: Talk) -> None:
    """A port may forward for 192.168.50.0/24: from there and to there packets pass by the groups of the port that forwards."""
    behind = "192.168.50.7"
    web = group("red/web", ingress=[allow("tcp", 80, far="red/site")])
    site = group("red/site", ingress=[allow("udp", 53)])
    members = {SERVER: ["red/web"], FAR: ["red/site"]}
    talk.enforce(town(web, site, members=members, allowed={FAR: [("192.168.50.0/24", None)]}))
    inward = request(talk.topology, FAR, SERVER, "tcp 80", src=behind)
    assert talk.carries(inward, SERVER), "an address of the subnet counts as the group's"
    assert talk.send(request(talk.topology, FAR, SERVER, "tcp 22", src=behind)) == {}
    assert talk.send(request(talk.topology, FAR, SERVER, "tcp 80", src="192.168.51.7")) == {}
    assert talk.send(request(talk.topology, NEAR, SERVER, "tcp 80", src=behind)) == {}
    outward = replace(request(talk.topology, NEAR, FAR, "udp 53"), dst=ip_address(behind))
    assert talk.carries(outward, FAR)
    assert talk.send(replace(request(talk.topology, NEAR, FAR, "udp 54"), dst=ip_address(behind))) == {}
