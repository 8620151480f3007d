"""The streams of live stories notice what they are there for: one lost message, silence, and that it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from controller.model.names import interface_name
from tests.scenarios.labs import wait_until
from tests.scenarios.live import BOTH, FAR, NEAR, SERVER, Live
from tests.scenarios.streams import Stream

pytestmark = pytest.mark.lab

KINDS = ("udp", "tcp", "icmp")


@pytest.fixture
def talks(live: Live) -> list[Stream]:
    """Everybody may speak with the server, and does."""
    live.edit("g: {ingress: [{}]}", {"server": ["g"]})
    return live.talk(BOTH, SERVER, 5001, kinds=KINDS)


@contextmanager
def cut_off(live: Live, port: str) -> Iterator[None]:
    """A port from which and to which nothing passes while the block lasts, though it does not know."""
    planned = live.net.lab.plan.ports[port]
    flows = [f"priority=65535,{which}" for which in (f"in_port={interface_name(port)}", f"dl_dst={planned.mac}")]
    for flow in flows:
        live.net.lab.exec_host(planned.host, ["ovs-ofctl", "add-flow", "br-int", f"{flow},actions=drop"], check=True)
    try:
        yield
    finally:
        for flow in flows:
            live.net.lab.exec_host(planned.host, ["ovs-ofctl", "--strict", "del-flows", "br-int", flow], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_is_lost_is_missed(live: Live, talks: list[Stream], kind: str) -> None:
    """A port is cut off for a moment: every kind of stream from it has lost something, and no other has."""
    [mine] = [stream for stream in talks if (stream.client, stream.kind) == (NEAR, kind)]
    others = [stream for stream in talks if stream.client == FAR]
    with live.unharmed(others), pytest.raises(AssertionError, match="lost, but should not be"):
        lose_something(live, mine)


def lose_something(live: Live, mine: Stream) -> None:
    """Cut a stream off until it has sent something in vain, and say that it was not harmed."""
    with live.unharmed([mine]), cut_off(live, mine.client):
        tried = mine.knocks(mine.there)
        wait_until(lambda: mine.knocks(mine.there) > tried + 1, "something is sent in vain")


def test_silence_is_noticed_and_that_it_is_over(live: Live, talks: list[Stream]) -> None:
    """A port is cut off: its streams are silent beside others, and are not when it is back."""
    mine = [stream for stream in talks if stream.client == NEAR]
    others = [stream for stream in talks if stream.client == FAR]
    with live.unharmed(others):
        live.since_now()
        with cut_off(live, NEAR):
            live.silent(mine, beside=others)
        live.goes_on(mine)
        live.since_now()
        with pytest.raises(AssertionError, match="passes after the change"):
            live.silent(mine, beside=others)
