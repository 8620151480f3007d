"""An address is handed on to another port while connections of its old owner live: they are nobody's then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from controller import config
from controller.engine.delivery import RESTING_S
from controller.pipeline.plan import pipeline
from tests.faults.site import crash_controller, daemon_of
from tests.faults.threads import still
from tests.scenarios.labs import wait_until, write
from tests.scenarios.live import BOTH, FABRIC, FAR, NEAR, PLACES, TENANT, Live, red, rules
from tests.scenarios.streams import Stream

pytestmark = pytest.mark.lab

OLD, HEIR, LAST = "red/old", "red/heir", 6
GROUPS = f"own: {{ingress: [{rules(5001)}]}}\nother: {{ingress: [{rules(5002)}]}}\nopen: {{ingress: [{{}}]}}"
OPEN = {"near": ["open"], "far": ["open"]}

CLASSIFY = pipeline().tables["classify"].number
SIGNS, TRIES, SLACK_S = 5, 5, 0.1

HEIRS = pytest.mark.parametrize("group", ["own", "other"])
PLACED = pytest.mark.parametrize("place", ["hv1", "hv2"], ids=["same-host", "two-hosts"])


@contextmanager
def old_owner(live: Live, group: str) -> Iterator[list[Stream]]:
    """A port that talks from an address and, unless its heir will allow the same, is talked to; afterwards nobody has the address."""
    live.edit(GROUPS, {**OPEN, "old": ["own"]}, {**PLACES, "old": ("hv1", LAST)})
    plug(live)
    live.net.lab.wait_in_sync()
    streams = live.talk([OLD], NEAR, 5001) + live.talk([OLD], FAR, 5001)
    if group == "other":
        streams += live.talk(BOTH, OLD, 5001)
    try:
        yield streams
    finally:
        live.hang_up(streams)
        live.edit("")
        plug(live)
        live.net.lab.wait_in_sync()


def name_heir(live: Live, group: str, place: str) -> None:
    """Save files that give the address to another port."""
    live.save(GROUPS, {**OPEN, "heir": [group]}, {**PLACES, "heir": (place, LAST)})


@HEIRS
@PLACED
def test_an_address_brings_no_connections_along_if_its_heir_is_plugged_first(
    live: Live, place: str, group: str
) -> None:
    """A port's interface goes, and another port is given its address and MAC: nothing of the old one's conversations reaches the new one.

    It has the old one's groups or others; its own connections work.
    """
    with old_owner(live, group) as talk:
        plug(live, heir_files(live, group, place))
        name_heir(live, group, place)
        live.apply()
        lives_its_own_life(live, group, talk)


@PLACED
@pytest.mark.parametrize("crashes", [False, True], ids=["away", "killed"])
def test_an_address_brings_no_connections_along_past_a_dead_controller(live: Live, place: str, crashes: bool) -> None:
    """The address is handed on while the controller is away, or it dies of it: the next one knows what is nobody's."""
    with old_owner(live, "own") as talk:
        if not crashes:
            live.net.lab.stop_controller()
        name_heir(live, "own", place)
        if crashes:
            crash_controller(live.net)
        plug(live)
        live.net.lab.start_controller()
        lives_its_own_life(live, "own", talk)


@pytest.mark.parametrize("when", ["at-once", "soon-after"])
def test_an_address_brings_no_connections_along_that_its_old_owner_opens_again_on_its_way_out(
    live: Live, when: str
) -> None:
    """The old owner's host has confirmed its end and lets it speak for a moment more: its heir elsewhere gets no answers to that."""
    for _ in range(TRIES):
        with old_owner(live, "own") as talk:
            moment = speaks_on(
                live, talk, (lambda: live.save(GROUPS, OPEN)) if when == "soon-after" else heir_elsewhere(live)
            )
            heir_elsewhere(live)()
            live.apply()
            plug(live)
            if moment < RESTING_S - SLACK_S:
                lives_its_own_life(live, "own", talk)
                assert strays(live, HEIR) == {"datagrams": 0, "segments": 0}
                return
    raise AssertionError("the machine is so busy that nothing can be said")


def heir_elsewhere(live: Live) -> Callable[[], None]:
    """What gives the address to a port of the other host."""
    return lambda: name_heir(live, "own", "hv2")


def speaks_on(live: Live, talk: Sequence[Stream], end: Callable[[], None]) -> float:
    """End a port while the datapath of its host does not follow, so that it is heard for a while; return for how long, in seconds."""
    heard = next(stream for stream in talk if (stream.kind, stream.client, stream.server) == ("udp", OLD, FAR))
    heard.back.is_open = False  # It is the old owner that opens the connection again, not who answers it.
    began = time.monotonic()
    with still(daemon_of(live.net, "hv1", "ovs-vswitchd"), "revalidator"):
        end()
        wait_until(lambda: not is_taken_in(live), "its host has taken the change")
        since = time.monotonic()
        wait_until(lambda: heard.there.arrived_of(since) >= SIGNS, "it is heard")
    heard.back.is_open = True
    return time.monotonic() - began


def is_taken_in(live: Live) -> bool:
    """Whether the flows of the old owner's host take in what it sends."""
    said = live.net.lab.exec_host("hv1", ["ovs-ofctl", "dump-flows", "br-int", f"table={CLASSIFY}"], check=True).stdout
    return f"dl_src=02:00:00:00:08:{LAST:02x}" in said


def heir_files(live: Live, group: str, place: str) -> Path:
    """Write the files that name the heir where the controller does not look."""
    later = live.net.lab.folder.with_suffix(".later")
    write(later / "fabric.yaml", FABRIC)
    write(later / TENANT, red(GROUPS, {**OPEN, "heir": [group]}, {**PLACES, "heir": (place, LAST)}))
    return later


def plug(live: Live, folder: Path | None = None) -> None:
    """Plug what the files say, and unplug what they do not."""
    topology = config.load(folder or live.net.lab.folder).topology
    assert topology is not None
    live.net.lab.follow(topology)


def lives_its_own_life(live: Live, group: str, inherited: Sequence[Stream]) -> None:
    """Once all is in sync, the heir's own connections work, and of what it inherited nothing reaches it."""
    live.net.lab.wait_in_sync()
    live.since_now()
    before = strays(live, HEIR)
    for stream in inherited:  # The old owner says nothing more.
        (stream.there if stream.client == OLD else stream.back).is_open = False
    own = live.talk([HEIR], NEAR, 5001) + live.talk([HEIR], FAR, 5001)
    own += live.talk(BOTH, HEIR, 5001 if group == "own" else 5002)
    with live.unharmed(own):
        live.silent(inherited, beside=own)
    assert strays(live, HEIR) == before


def strays(live: Live, port: str) -> Mapping[str, int]:
    """What has reached a port, since it is there, that no socket of it wanted."""
    said = live.net.lab.exec_port(port, ["cat", "/proc/net/snmp"], check=True).stdout.splitlines()
    facts: dict[str, int] = {}
    for heads, numbers in zip(said[::2], said[1::2], strict=True):
        protocol = heads.partition(":")[0]
        for name, number in zip(heads.split()[1:], numbers.split()[1:], strict=True):
            facts[f"{protocol}{name}"] = int(number)
    return {"datagrams": facts["UdpNoPorts"], "segments": facts["TcpOutRsts"]}
