"""Groups of other kinds than the usual: not enforced, stateless, lists of addresses, further ethertypes, limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.model.entities import Topology
from controller.proof.packet import Packet
from tests.builders import address_group, allow, fabric, group
from tests.ovs.frames import Step, frame
from tests.scenarios.talk import Talk, answer_to, request
from tests.scenarios.town import FAR, NEAR, OTHER, SERVER, town

pytestmark = pytest.mark.ovs

CLIENTS = pytest.mark.parametrize("client", [NEAR, FAR], ids=["same-host", "two-hosts"])


@CLIENTS
def test_what_a_rule_that_is_not_enforced_lets_in_passes(talk: Talk, client: str) -> None:
    """A rule that is not enforced: what it alone lets in passes, answers too; what nothing lets in stays out."""
    trial = group("red/g", ingress=[allow("tcp", 80), allow("tcp", 22, enforce=False)], egress=[])
    talk.enforce(town(trial, members={SERVER: ["red/g"]}))
    assert talk.passes(client, SERVER, "tcp 80")
    assert talk.passes(client, SERVER, "tcp 22")
    assert not talk.passes(client, SERVER, "tcp 23")


@CLIENTS
def test_a_group_that_is_not_enforced_drops_nothing_until_it_is(talk: Talk, client: str) -> None:
    """The very connection that passes while the group is tried is refused once it is enforced."""
    rules = [allow("tcp", 80)]
    talk.enforce(town(group("red/g", ingress=rules, egress=[], enforce=False), members={SERVER: ["red/g"]}))
    tried = request(talk.topology, client, SERVER, "tcp 22")
    assert talk.carries(tried, SERVER)
    talk.enforce(town(group("red/g", ingress=rules, egress=[]), members={SERVER: ["red/g"]}))
    assert talk.net.send(client, frame(tried, Step.GO_ON)) == {}
    assert talk.passes(client, SERVER, "tcp 80")


@CLIENTS
@pytest.mark.parametrize("version", [4, 6])
def test_answers_of_a_stateless_port_need_a_rule_of_their_own(talk: Talk, client: str, version: int) -> None:
    """A name server without connection tracking: its answers leave by its egress rules, and its clients know what they asked."""
    answers = allow("udp", (1024, 65535))
    closed = group("red/dns", ingress=[allow("udp", 53)], egress=[], stateless=True)
    talk.enforce(town(closed, group("red/c"), members={SERVER: ["red/dns"], NEAR: ["red/c"], FAR: ["red/c"]}))
    asked = request(talk.topology, client, SERVER, "udp 53", version=version)
    assert talk.send(asked).keys() == {SERVER}
    assert talk.send(answer_to(asked, SERVER)) == {}
    opened = group("red/dns", ingress=[allow("udp", 53)], egress=[answers], stateless=True)
    talk.enforce(town(opened, group("red/c"), members={SERVER: ["red/dns"], NEAR: ["red/c"], FAR: ["red/c"]}))
    assert talk.send(answer_to(asked, SERVER)).keys() == {client}
    assert talk.send(answer_to(request(talk.topology, client, SERVER, "udp 53", version=version), SERVER)) == {}


def test_two_stateless_ports_leave_no_trace_in_the_tracker(talk: Talk) -> None:
    """Neither end asks the connection tracker, so none of their packets is in it."""
    free = group("red/free", ingress=[allow("udp")], egress=[allow("udp")], stateless=True)
    talk.enforce(town(free, members={SERVER: ["red/free"], NEAR: ["red/free"]}))
    asked = request(talk.topology, NEAR, SERVER, "udp 9")
    assert talk.send(asked).keys() == {SERVER}
    assert talk.send(answer_to(asked, SERVER)).keys() == {NEAR}
    assert "src=10.0.0.2" not in talk.net.hosts["hv1"].control.call("dpctl/dump-conntrack")


@CLIENTS
def test_a_list_of_addresses_lets_in_who_is_on_it(talk: Talk, client: str) -> None:
    """An entry more lets its address in, an entry less ends its connections, and nobody else's."""

    def listed(*addresses: str) -> Topology:
        rules = group("red/g", ingress=[allow("tcp", 80, addresses=["red/corp"])], egress=[])
        with_groups = town(rules, members={SERVER: ["red/g"]})
        lists = fabric(address_group("red/corp", *addresses)).address_groups
        return replace(with_groups, address_groups=lists)

    mine = str(talk.topology.ports[client].ips[0])
    talk.enforce(listed("10.0.0.4/32", "192.0.2.0/24"))
    assert talk.passes(OTHER, SERVER, "tcp 80")
    assert not talk.passes(client, SERVER, "tcp 80")
    talk.enforce(listed("10.0.0.4/32", f"{mine}/32"))
    known, other = (request(talk.topology, each, SERVER, "tcp 80") for each in (client, OTHER))
    assert talk.carries(known, SERVER)
    assert talk.carries(other, SERVER)
    talk.enforce(listed("10.0.0.4/32"))
    assert talk.net.send(client, frame(known, Step.GO_ON)) == {}
    assert talk.net.send(OTHER, frame(other, Step.GO_ON)).keys() == {SERVER}


@pytest.mark.parametrize("ethertype", [0x88CC, 0x88B5])
def test_d13_an_ethertype_that_both_ends_name_passes_both_ways(talk: Talk, ethertype: int) -> None:
    """Neither to nor from a port that does not name it."""
    plain = town(group("red/g"), members={SERVER: ["red/g"], NEAR: ["red/g"], FAR: ["red/g"]})
    ports = {
        name: each if name == OTHER else replace(each, ethertypes=(ethertype,)) for name, each in plain.ports.items()
    }
    talk.enforce(replace(plain, ports=ports))

    def heard(source: str, target: str) -> set[str]:
        a, b = talk.topology.ports[source], talk.topology.ports[target]
        return set(talk.send(Packet(source, a.mac, b.mac, ethertype)))

    for source, target in ((NEAR, SERVER), (SERVER, NEAR), (FAR, SERVER), (SERVER, FAR)):
        assert heard(source, target) == {target}
    for source, target in ((OTHER, SERVER), (SERVER, OTHER)):
        assert heard(source, target) == set()


def test_new_connections_are_limited_and_old_ones_are_not(talk: Talk) -> None:
    """Two a second: of twenty at once most are refused, and a connection that is open goes on; a neighbour is not limited."""
    topology = town(group("red/g", ingress=[allow("udp")]), members={SERVER: ["red/g"], NEAR: ["red/g"]})
    limited = {SERVER: replace(topology.ports[SERVER], new_connections=2)}
    talk.enforce(replace(topology, ports={**topology.ports, **limited}))
    known = request(talk.topology, FAR, SERVER, "udp 53")
    assert talk.carries(known, SERVER)
    came = sum(bool(talk.send(request(talk.topology, FAR, SERVER, "udp 53"))) for _ in range(20))
    assert came < 10
    assert talk.net.send(FAR, frame(known, Step.GO_ON)).keys() == {SERVER}
    assert all(talk.send(request(talk.topology, FAR, NEAR, "udp 53")) for _ in range(20))
