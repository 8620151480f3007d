"""Interfaces get other numbers while nobody looks: programs follow, and nothing is ever delivered to the port that has the old number."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from controller.lab.plan import port_commands
from controller.model.names import interface_name
from tests.faults.site import crash_controller
from tests.lab.net import Heard, Net
from tests.scenarios.labs import Stream, differences, wait_until

pytestmark = pytest.mark.lab

IPV4, UDP, OF_PROTOCOL = b"\x08\x00", 17, 23
RED, BLUE = "red/w2", "blue/w2"


@contextmanager
def two_tenants_talking(net: Net) -> Iterator[tuple[Stream, Stream]]:
    """On hv2, red sends to one port and blue from one; a datagram at blue's sender or at red's went to the wrong tenant."""
    with net.listen(BLUE) as at_blue, net.listen("red/w4") as at_red:
        with Stream(net, "red/w4", RED) as red, Stream(net, BLUE, "blue/w4") as blue:
            yield red, blue
        assert strays(at_blue) == []
        assert strays(at_red) == []


def strays(heard: Heard) -> list[str]:
    """The datagrams that a port has heard; whoever listens here should hear none."""
    heard.find(lambda _frame: False, 0.1)
    return [frame.hex() for frame in heard.frames if frame[12:14] == IPV4 and frame[OF_PROTOCOL] == UDP]


def test_a_host_that_comes_back_with_swapped_numbers_is_followed(net: Net) -> None:
    """A host fails and returns, with the numbers of two tenants' ports exchanged: both work again, and neither got the other's packets."""
    before = numbers(net)
    with two_tenants_talking(net):
        net.lab.fail_host("hv2")
        swap_in_database(net, before)
        net.lab.recover_host("hv2")
        wait_until(lambda: numbers(net) == {RED: before[BLUE], BLUE: before[RED]}, "the numbers are exchanged")
        wait_until(lambda: not differences(net), "the programs have followed")


def test_a_host_that_comes_back_before_the_controller_does_is_followed(net: Net) -> None:
    """The same while no controller runs: the next one finds the numbers as they are."""
    before = numbers(net)
    with two_tenants_talking(net):
        crash_controller(net)
        net.lab.fail_host("hv2")
        swap_in_database(net, before)
        net.lab.recover_host("hv2")
        net.lab.start_controller()
        net.lab.wait_in_sync()
        assert numbers(net) == {RED: before[BLUE], BLUE: before[RED]}
        wait_until(lambda: not differences(net), "the programs have followed")


def test_ports_that_are_plugged_again_get_new_numbers_and_are_followed(net: Net) -> None:
    """Two ports leave a running switch and come back in another order, with numbers that neither had."""
    before = numbers(net)
    with two_tenants_talking(net):
        replug(net, BLUE, RED)
        wait_until(lambda: not differences(net), "the programs have followed")
    assert not set(before.values()) & set(numbers(net).values())


def numbers(net: Net) -> Mapping[str, int]:
    """The OpenFlow numbers of the two ports of hv2."""
    said = {
        port: net.lab.exec_host("hv2", ["ovs-vsctl", "get", "interface", interface_name(port), "ofport"]).stdout
        for port in (RED, BLUE)
    }
    return {port: int(text) if text.strip().isdecimal() else -1 for port, text in said.items()}


def swap_in_database(net: Net, before: Mapping[str, int]) -> None:
    """Ask for exchanged numbers in the database of hv2, whose server does not run."""
    changes = [
        {
            "op": "update",
            "table": "Interface",
            "where": [["name", "==", interface_name(port)]],
            "row": {"ofport_request": before[other]},
        }
        for port, other in ((RED, BLUE), (BLUE, RED))
    ]
    database = str(net.lab.switch("hv2").directory / "conf.db")
    done = net.lab.exec_host(
        "hv2", ["ovsdb-tool", "transact", database, json.dumps(["Open_vSwitch", *changes])], check=True
    )
    assert done.stdout.count('"count":1') == len(changes), done.stdout


def replug(net: Net, *ports: str) -> None:
    """Unplug ports from hv2 and plug them in again, in this order."""
    for port in ports:
        net.lab.exec_host("hv2", ["ovs-vsctl", "del-port", "br-int", interface_name(port)], check=True)
    for port in ports:
        net.lab.switch("hv2").configure(port_commands(net.lab.plan.ports[port]))
