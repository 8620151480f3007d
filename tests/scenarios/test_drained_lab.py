"""A gateway is drained, and leads out again, under two hundred datagrams a second each way, on real hosts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from controller import control
from controller.cli.status import command as show_status
from controller.lab.beyond import INTERNET
from controller.lab.namespaces import inside, ip
from tests.lab.net import Net
from tests.scenarios.labs import running, wait_until
from tests.scenarios.outward import FILES, ROUTER, Echoes, all_alive, flaps

pytestmark = pytest.mark.lab

FLOATING = "203.0.113.22"  # Of a port whose host has no wire of its own: a gateway has it.


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    with running(tmp_path, FILES) as found:
        found.lab.wait_in_sync()
        wait_until(lambda: all_alive(found), "all hosts are alive")
        wait_until(lambda: active(found) == gateways(found)[0]["host"], "the controller has heard who leads out")
        yield found


def status(net: Net) -> dict[str, Any]:
    return control.request(net.lab.control, {"do": "status"})


def gateways(net: Net) -> list[dict[str, Any]]:
    [router] = status(net)["routers"]
    found: list[dict[str, Any]] = router["gateways"]
    return found


def active(net: Net) -> str:
    return str(status(net)["routers"][0]["gateway"])


def drain(net: Net, host: str, *, is_drained: bool = True) -> None:
    said = control.request(net.lab.control, {"do": "drain", "host": host, "drained": is_drained})
    assert said["change"]["state"] == "done", said


def test_g12_s31_nothing_of_a_stream_is_lost_while_a_gateway_is_drained(net: Net) -> None:
    first = active(net)
    before = flaps(net)
    with Echoes(net, "red/db2") as far:
        drain(net, first)
        wait_until(lambda: active(net) != first, "another gateway leads out")
        far.goes_on(300)
    assert far.lost == [] or flaps(net) != before
    assert far.seen == {ROUTER[4]}


@pytest.mark.parametrize("is_drained", [True, False], ids=["drained", "undrained"])
def test_g12_who_is_called_from_outside_misses_no_call(net: Net, is_drained: bool) -> None:
    first = active(net)
    if not is_drained:
        drain(net, first)
    before = flaps(net)
    with Echoes(net, INTERNET, FLOATING, at="red/far", number=80) as calls:
        drain(net, first, is_drained=is_drained)
        wait_until(lambda: (active(net) == first) is not is_drained, "another gateway leads out")
        calls.goes_on(300)
    # A machine that is busy may be late with signs of life: then a gateway is taken for dead for a moment.
    assert calls.lost == [] or flaps(net) != before


def test_g12_several_streams_lose_nothing_once_a_gateway_is_drained(net: Net) -> None:
    """The first of them takes the router's MAC along; an answer to another one may come to the new gateway before that one has spoken."""
    before = flaps(net)
    with (
        Echoes(net, "red/db1") as near,
        Echoes(net, "red/db2", number=4244) as far,
        Echoes(net, "red/db3", number=4245) as own,
    ):
        drain(net, active(net))
        begun = [(stream, len(stream.sent)) for stream in (near, far, own)]
        for stream, _ in begun:
            stream.goes_on(300)
    lost = [number for stream, first in begun for number in stream.lost if number >= first]
    assert lost == [] or flaps(net) != before


def test_g12_a_drained_gateway_stays_so_under_a_new_controller_and_is_one_of_last_resort(net: Net) -> None:
    first = active(net)
    drain(net, first)
    second = active(net)
    net.lab.stop_controller()
    net.lab.start_controller()
    net.lab.wait_in_sync()
    assert status(net)["drained"] == [first]
    wait_until(lambda: active(net) == second != first, "the controller has heard who leads out")
    shown = CliRunner().invoke(show_status, ["--control", str(net.lab.control)]).output
    assert f"router red/main: leads out by {second} ({first} is drained)" in shown
    with Echoes(net, "red/db2") as far:
        with inside(net.lab.host_namespace(second)):
            ip(["link set eth0 down"])
        far.goes_on()
        wait_until(lambda: active(net) == first, "the controller has heard who leads out")
    assert far.seen == {ROUTER[4]}
