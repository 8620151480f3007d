"""Stateful rules: answers, errors about a conversation and its fragments pass; what only looks like them does not."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from controller.model.entities import Rule
from controller.proof.packet import Packet
from tests.builders import allow, group
from tests.ovs.frames import Step, checksum, frame, unreachable
from tests.scenarios.talk import Talk, answer_to, request
from tests.scenarios.town import FAR, NEAR, OTHER, SERVER, town

pytestmark = pytest.mark.ovs

VERSIONS = (4, 6)
CLIENTS = pytest.mark.parametrize("client", [NEAR, FAR], ids=["same-host", "two-hosts"])
UNREACHABLE = {4: (3, 3), 6: (1, 4)}  # Port unreachable.
TOO_BIG = {4: (3, 4), 6: (2, 0)}  # Fragmentation needed, packet too big.


def silent_server(talk: Talk, *ingress: Rule) -> None:
    """A server that may open nothing itself, and clients that nobody may open anything to."""
    talk.enforce(town(group("red/g", ingress=ingress, egress=[]), members={SERVER: ["red/g"]}))


def error(about: Packet, kind: tuple[int, int], mtu: int = 0) -> bytes:
    """The ICMP error of the receiver of a packet, which quotes it (RFC 792, RFC 1191, RFC 4443)."""
    quoted = frame(about)
    sent = unreachable(about, quoted)
    if about.version == 4:
        end = 14 + int.from_bytes(sent[16:18], "big")
        message = bytes(kind) + b"\0\0" + mtu.to_bytes(4, "big") + sent[42:end]
        return sent[:34] + message[:2] + checksum(message) + message[4:] + sent[end:]
    message = bytes(kind) + b"\0\0" + mtu.to_bytes(4, "big") + quoted[14:]
    seal = checksum(sent[22:54] + struct.pack(">II", len(message), 58) + message)
    return sent[:18] + len(message).to_bytes(2, "big") + sent[20:54] + message[:2] + seal + message[4:]


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_passes_in_its_conversation_only(talk: Talk, client: str, version: int) -> None:
    """The server may open nothing: its answer passes, to the port that asked and from the port that was asked."""
    silent_server(talk, allow("udp", 53))
    asked = request(talk.topology, client, SERVER, "udp 53", version=version)
    answer = answer_to(asked, SERVER)
    assert talk.send(answer) == {}, "an answer to nothing"
    assert talk.carries(asked, SERVER)
    assert talk.send(replace(answer, dport=answer.dport + 1)) == {}
    assert talk.send(replace(answer, sport=54)) == {}
    assert talk.send(answer) == {client: [frame(answer)]}


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
def test_a_handshake_that_nobody_began_is_not_one(talk: Talk, client: str, version: int) -> None:
    """The second packet of TCP's handshake opens no conversation, however it is numbered."""
    silent_server(talk, allow("tcp", 80))
    asked = request(talk.topology, client, SERVER, "tcp 80", version=version)
    forged = frame(answer_to(asked, SERVER), Step.ACCEPT)
    assert talk.net.send(SERVER, forged) == {}
    assert talk.carries(asked, SERVER)
    assert talk.net.send(SERVER, forged) == {client: [forged]}


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", [UNREACHABLE, TOO_BIG], ids=["port-unreachable", "too-big"])
def test_errors_about_a_conversation_come_back(
    talk: Talk, client: str, version: int, kind: dict[int, tuple[int, int]]
) -> None:
    """No rule of either side names ICMP: the error about what the client sent reaches it, one about another packet does not."""
    silent_server(talk, allow("udp", 53), allow("tcp", 80))
    for what in ("udp 53", "tcp 80"):
        asked = request(talk.topology, client, SERVER, what, version=version)
        sent = error(asked, kind[version], 1400)
        assert talk.net.send(SERVER, sent) == {}, "about a packet that was never sent"
        assert talk.send(asked) == {SERVER: [frame(asked)]}
        elsewhere = error(replace(asked, sport=asked.sport + 7000), kind[version], 1400)
        assert talk.net.send(SERVER, elsewhere) == {}
        assert talk.net.send(SERVER, sent) == {client: [sent]}


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
def test_errors_about_answers_reach_the_server(talk: Talk, client: str, version: int) -> None:
    """The server's answer was too big for the client's side: the server learns of it without a rule for ICMP."""
    silent_server(talk, allow("tcp", 80))
    asked = request(talk.topology, client, SERVER, "tcp 80", version=version)
    assert talk.carries(asked, SERVER)
    sent = error(answer_to(asked, SERVER), TOO_BIG[version], 1400)
    assert talk.net.send(client, sent) == {SERVER: [sent]}


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
def test_an_error_about_what_the_rules_refused_opens_nothing(talk: Talk, client: str, version: int) -> None:
    """The client's packet was refused by the server's rules; errors about it, from either side, reach nobody there."""
    silent_server(talk, allow("udp", 53))
    refused = request(talk.topology, client, SERVER, "udp 54", version=version)
    assert talk.send(refused) == {}
    wrong = error(answer_to(refused, SERVER), UNREACHABLE[version])
    assert talk.net.send(client, wrong) == {}
    assert talk.passes(client, SERVER, "udp 53", version=version)


def test_c3_a_gateway_says_that_there_is_no_way(talk: Talk) -> None:
    """A port that may only ping out asks for an address beyond a gateway; the gateway's ICMP error gets in without a rule."""
    caged = group("red/caged", egress=[allow("icmp", ethertype=4)])
    talk.enforce(town(caged, members={NEAR: ["red/caged"]}, insecure=[FAR]))
    gateway = talk.topology.ports[FAR]
    beyond = replace(request(talk.topology, NEAR, FAR, "icmp"), dst=ip_address("198.51.100.7"))
    [arrived] = talk.send(beyond)[FAR]
    assert arrived == frame(beyond)
    # The error about a packet comes from whom it was for, unless somebody on the way says otherwise.
    sent = bytearray(error(beyond, (3, 0)))
    sent[26:30] = gateway.ips[0].packed
    sent[24:26] = bytes(2)
    sent[24:26] = checksum(bytes(sent[14:34]))
    assert talk.net.send(FAR, bytes(sent)) == {NEAR: [bytes(sent)]}
    ping = request(talk.topology, FAR, NEAR, "icmp")
    assert talk.send(ping) == {}, "the gateway itself may not ping"


_identifications = itertools.count(1)


def fragments(whole: bytes, *sizes: int) -> list[bytes]:
    """Cut an IP packet's payload into pieces of these sizes and a last one (RFC 791, RFC 8200, section 4.5)."""
    is_v4 = whole[12:14] == b"\x08\0"
    at = 34 if is_v4 else 54
    payload = whole[at : 14 + int.from_bytes(whole[16:18], "big") if is_v4 else None]
    pieces, offset, number = [], 0, next(_identifications)
    for size in (*sizes, len(payload) - sum(sizes)):
        last = offset + size == len(payload)
        piece = payload[offset : offset + size]
        if is_v4:
            flags = offset // 8 | (0 if last else 0x2000)
            head = whole[14:16] + struct.pack(">HHHBBH", 20 + size, number, flags, 64, whole[23], 0) + whole[26:34]
            pieces.append(whole[:14] + head[:10] + checksum(head) + head[12:] + piece)
        else:
            extra = struct.pack(">BBHI", whole[20], 0, offset | (0 if last else 1), number)
            head = whole[14:18] + struct.pack(">HBB", 8 + size, 44, 64) + whole[22:54]
            pieces.append(whole[:14] + head + extra + piece)
        offset += size
    return pieces


def large(talk: Talk, client: str, what: str, version: int) -> bytes:
    """A request of 3,000 bytes, as it would be on a wire that carries it whole."""
    asked = request(talk.topology, client, SERVER, what, version=version)
    small = frame(asked)
    header = 34 if version == 4 else 54
    body = bytes(index & 0xFF for index in range(3000))
    if what.startswith("udp"):
        upper = struct.pack(">HHHH", asked.sport, asked.dport, 8 + len(body), 0) + body
        place = 6
    else:
        upper = bytes([asked.icmp_type, 0, 0, 0]) + struct.pack(">HH", asked.sport, 1) + body
        place = 2
    pseudo = small[26:34] + struct.pack(">HH", small[23], len(upper))
    if version == 6:
        pseudo = small[22:54] + struct.pack(">II", len(upper), small[20])
    elif place == 2:
        pseudo = b""
    upper = upper[:place] + checksum(pseudo + upper) + upper[place + 2 :]
    length = struct.pack(">H", len(upper) + (20 if version == 4 else 0))
    at = 16 if version == 4 else 18
    return small[:at] + length + small[at + 2 : header] + upper


def arrivals(talk: Talk, client: str, pieces: Sequence[bytes]) -> list[bytes]:
    """Send the pieces one after another and return what the server got of them; nobody else gets anything."""
    got: list[bytes] = []
    for piece in pieces:
        deliveries = talk.net.send(client, piece)
        assert set(deliveries) <= {SERVER}
        got += deliveries.get(SERVER, [])
    return got


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["udp 53", "icmp"])
def test_c7_fragments_pass_where_the_whole_packet_would(talk: Talk, client: str, version: int, what: str) -> None:
    """Only the first of three fragments says which port or type it is for; all pass, in any order, if the whole may."""
    ping = (allow("icmp", icmp_type=8, ethertype=4), allow("icmpv6", icmp_type=128, ethertype=6))
    silent_server(talk, allow("udp", 53), *ping)
    for order in ((0, 1, 2), (2, 0, 1)):
        pieces = fragments(large(talk, client, what, version), 1400, 1400)
        got = arrivals(talk, client, [pieces[number] for number in order])
        assert sorted(map(payload, got)) == sorted(map(payload, pieces))


@CLIENTS
@pytest.mark.parametrize("version", VERSIONS)
def test_c7_fragments_of_what_may_not_pass_are_dropped(talk: Talk, client: str, version: int) -> None:
    """Neither the fragment that names a closed port nor those behind it, nor later ones that have no first."""
    silent_server(talk, allow("udp", 53))
    for what in ("udp 54", "icmp"):
        assert arrivals(talk, client, fragments(large(talk, client, what, version), 1400, 1400)) == []
    headless = fragments(large(talk, client, "udp 53", version), 1400, 1400)[1:]
    assert arrivals(talk, client, headless) == []
    assert talk.passes(client, SERVER, "udp 53", version=version)


def payload(piece: bytes) -> bytes:
    """What a fragment carries, with its offset."""
    return piece[20:22] + piece[34:] if piece[12:14] == b"\x08\0" else piece[56:58] + piece[62:]


def test_two_clients_are_two_conversations(talk: Talk) -> None:
    """What one client has opened is no door for another that sends the same from its own address."""
    talk.enforce(
        town(
            group("red/g", ingress=[allow("tcp", 80, far="red/friends")]),
            group("red/friends"),
            members={SERVER: ["red/g"], FAR: ["red/friends"]},
        )
    )
    opened = request(talk.topology, FAR, SERVER, "tcp 80")
    assert talk.carries(opened, SERVER)
    other = talk.topology.ports[OTHER]
    same = replace(opened, source=OTHER, eth_src=other.mac, src=IPv4Address(other.ips[0]))
    assert not talk.carries(same, SERVER)
    assert talk.carries(opened, SERVER)
