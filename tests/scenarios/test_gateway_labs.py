"""Gateways that fail, with a stream of two hundred datagrams a second to the outside and their answers.

How much is lost, and for how long, the benchmarks say (`python -m benchmarks routed`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller import config
from controller.graph.fabric import Fabric
from controller.graph.queries import gateways
from controller.lab.beyond import INTERNET
from controller.lab.build import carry_underlay, introduce
from controller.lab.namespaces import bridge, inside, ip, kill
from controller.lab.prober import EAGER, UDP, Probe, Prober
from controller.model.address import outer_mac
from controller.model.names import liveness_port
from tests.faults.site import DAEMON, daemon_of
from tests.lab.net import Heard, Net
from tests.scenarios.labs import running, wait_until, write
from tests.scenarios.outward import FILES, ROUTER, WORLD, Echoes, all_alive, flaps_at, sessions, told, until_calm

pytestmark = pytest.mark.lab

BLUE = """\
networks:
  web: {cidr: 10.0.1.0/24}
routers:
  main: {networks: [web], external: public, address: 203.0.113.11}
ports:
  w1: {network: web, host: hv1, ip: 10.0.1.11}
"""
TWO = {**FILES, "tenants/blue.yaml": BLUE}
ACTIVE, STANDBY = "gw2", "gw1"  # Of red's router; of blue's it is the other way round.
FLOATING = "203.0.113.22"  # Of a port without a wire of its own.


def cut(net: Net) -> None:
    """Cut the active gateway's wire to other hosts; that to the outside stays."""
    with inside(net.lab.host_namespace(ACTIVE)):
        ip(["link set eth0 down"])


def crash(net: Net) -> None:
    """Kill the active gateway's switch."""
    kill([daemon_of(net, ACTIVE, "ovs-vswitchd")])


def splice(net: Net) -> None:
    """Join the wire again."""
    with inside(net.lab.host_namespace(ACTIVE)):
        ip(["link set eth0 up"])


def restart(net: Net) -> None:
    """Start the switch again: it has forgotten its flows, groups and connections, and the host its tunnel address."""
    command = ["ovs-vswitchd", net.lab.switch(ACTIVE).database, "--disable-system", *DAEMON]
    net.lab.exec_host(ACTIVE, command, check=True)
    carry_underlay(net.lab._state, net.lab.plan.hosts[ACTIVE])
    introduce(net.lab._state)


@contextmanager
def out_of_sight(net: Net, *hosts: str) -> Iterator[None]:
    """Have the underlay pass nothing between some hosts, while each of them reaches all others."""
    numbers = [net.lab._state.hosts[host] for host in hosts]

    def isolate(word: str) -> None:
        with inside(net.lab._state.namespace()):
            bridge(f"link set dev u{number} isolated {word}" for number in numbers)

    isolate("on")
    try:
        yield
    finally:
        isolate("off")


FAULTS = pytest.mark.parametrize(
    ("fail", "mend"), [(crash, restart), (cut, splice)], ids=["switch-killed", "underlay-cut"]
)
Fault = Callable[[Net], None]


def flaps_of_living(net: Net, host: str) -> dict[str, int]:
    """Return the same of those whom the host takes for alive now."""
    states, counts = sessions(net, host), flaps_at(net, host)
    return {name: counts[name] for name, state in states.items() if state == "up"}


@contextmanager
def three_streams(net: Net) -> Iterator[tuple[Echoes, Echoes, Echoes]]:
    """Red's from a host with a wire and from one without, and blue's."""
    with (
        Echoes(net, "red/db1") as near,
        Echoes(net, "red/db2", number=4244) as far,
        Echoes(net, "blue/w1", number=4245) as other,
    ):
        yield near, far, other


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with running(tmp_path, TWO) as found:
        found.lab.wait_in_sync()
        wait_until(lambda: all_alive(found), "all hosts are alive")
        yield found


def test_the_two_routers_have_gateways_of_their_own(tmp_path: Path) -> None:
    for name, text in TWO.items():
        write(tmp_path / name, text)
    topology = config.load(tmp_path).topology
    assert topology is not None
    memo = Fabric(topology).memo
    assert gateways(memo, "red/main") == (ACTIVE, STANDBY)
    assert gateways(memo, "blue/main") == (STANDBY, ACTIVE)


@pytest.mark.parametrize("fail", [crash, cut], ids=["switch-killed", "underlay-cut"])
@pytest.mark.parametrize("controller", ["controller", "no-controller"])
def test_g11_s31_another_gateway_takes_over(net: Net, fail: Fault, controller: str) -> None:
    with three_streams(net) as (near, far, other):
        if controller == "no-controller":
            net.lab.stop_controller()
        near.goes_on()
        before = flaps_of_living(net, "hv1")
        fail(net)
        near.goes_on(300)
        far.goes_on()
    after = flaps_of_living(net, "hv1")
    # A machine that is busy may be late with the other gateway's signs of life as well: then that is taken for dead for a moment.
    is_steady = len(after) == 1 and after.items() <= before.items()
    assert other.lost == [] or not is_steady, "another gateway leads it out"
    assert near.seen == far.seen == {ROUTER[4]}


@FAULTS
def test_g11_s31_the_first_gateway_takes_over_again_and_nothing_flaps(net: Net, fail: Fault, mend: Fault) -> None:
    with three_streams(net) as (near, far, other):
        fail(net)
        near.goes_on()
        mend(net)
        wait_until(lambda: all_alive(net), "all hosts are alive again")
        net.lab.wait_in_sync()
        near.goes_on(300)
        for _ in until_calm(net):
            calm = len(near.sent), len(far.sent)
            far.goes_on(400)
        other.goes_on()
    assert [max(each.lost, default=0) < first for each, first in zip((near, far), calm, strict=True)] == [True, True]


@pytest.mark.parametrize("fail", [crash, cut], ids=["switch-killed", "underlay-cut"])
def test_g11_s31_who_is_only_called_from_outside_is_found_at_the_other_gateway(net: Net, fail: Fault) -> None:
    """Nothing but its announcement tells the wire that an address is at another host."""
    with Echoes(net, INTERNET, FLOATING, at="red/far", number=80) as calls:
        fail(net)
        calls.goes_on()


@pytest.mark.parametrize("controller", ["controller", "no-controller"])
def test_g11_s31_a_gateway_that_is_cut_off_answers_nobody_outside(net: Net, controller: str) -> None:
    """It still has its wire; who asks there for an address of the fabric would find it, and be led nowhere."""
    theirs = outer_mac(f"red/{FLOATING}").to_bytes(6, "big")
    with Echoes(net, INTERNET, FLOATING, at="red/far", number=80) as calls:
        cut(net)
        calls.goes_on()
        wait_until(lambda: "up" not in sessions(net, ACTIVE).values(), "the gateway hears nobody")
        if controller == "no-controller":
            net.lab.stop_controller()
        wire = f"p{net.lab._state.hosts[ACTIVE]}-0"
        with Heard(net.lab._state.namespace(), wire) as said:
            for _ in range(10):
                with inside(net.lab.port_namespace("@public-router")):
                    ip(["neigh flush all"])
                calls.goes_on(20)
            assert said.find(lambda frame: frame[6:12] == theirs, seconds=0) is None


def test_s31_who_had_to_lead_out_for_a_while_finds_the_address_at_the_other_gateway(net: Net) -> None:
    """For one host alone the gateway was dead: what the other one has sent in its place told the wire's bridge there where the MAC is."""
    with out_of_sight(net, "hv2", ACTIVE):
        wait_until(lambda: sessions(net, "hv2")[liveness_port(ACTIVE)] == "down", "hv2 does not hear it")
        names = "red/far", INTERNET
        with Prober({name: net.lab.port_namespace(name) for name in names}) as prober:
            prober.attend("red/far", 4, [])
            prober.attend(INTERNET, 4, [(UDP, 4243)])
            assert prober.ask([Probe("red/far", WORLD[4], UDP, 4243)], EAGER)[0].reached == {INTERNET}
    wait_until(lambda: all_alive(net), "all hosts are alive again")
    with Echoes(net, "blue/w1", FLOATING, at="red/far", number=80) as calls:
        calls.goes_on()


def test_between_gateways_a_traceroute_shows_the_router_that_lets_in(net: Net) -> None:
    answer = told(net, "blue/w1", FLOATING, hops=2)
    assert answer is not None
    assert answer.by == ROUTER[4]


def test_s31_a_restart_of_the_controller_moves_no_gateway(net: Net) -> None:
    for _ in until_calm(net):
        with three_streams(net) as streams:
            net.lab.stop_controller()
            streams[0].goes_on()
            net.lab.start_controller()
            net.lab.wait_in_sync()
            streams[0].goes_on()
    assert [each.lost for each in streams] == [[], [], []]
