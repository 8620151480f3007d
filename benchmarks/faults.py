"""`python -m benchmarks.faults [WORKLOAD]`: how long a host is away whose switch dies, and what a switch that hangs costs the others.

Needs root and Open vSwitch's programs. The figures are for `docs/faults.md`; what is promised there is held by `tests/faults`.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.measure import Timing
from benchmarks.offline import load
from benchmarks.process import Late
from benchmarks.site import Site, open_site
from benchmarks.topology import write_topology
from benchmarks.variants import places, texts, with_spares
from benchmarks.workload import SIZES, Document, generate
from controller.lab.build import carry_underlay, introduce
from controller.lab.namespaces import inside

_RUNS, _EDITS = 5, 100
_INTERVAL_S, _PATIENCE_S, _PAUSE_S = 0.001, 30.0, 0.03
_NUMBER = 4242
_DAEMON = ("--disable-system", "--detach", "--no-chdir", "--pidfile", "--log-file", "-vconsole:off")


class Stream:
    """Datagrams from a port to another, one a millisecond; `last` is when the last one came, in monotonic time."""

    def __init__(self, site: Site, source: dict[str, Any], target: dict[str, Any]) -> None:
        with inside(site.lab.port_namespace(_name(target))):
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.bind(("", _NUMBER))
        self._receiver.settimeout(0.1)
        with inside(site.lab.port_namespace(_name(source))):
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender.connect((target["ip"], _NUMBER))
        self._over = threading.Event()
        self._threads = [threading.Thread(target=body) for body in (self._send, self._receive)]
        self.arrivals: list[float] = []
        for thread in self._threads:
            thread.start()

    def first_after(self, moment: float) -> float:
        """Wait for a datagram that comes after a moment; return when it came."""
        deadline = time.monotonic() + _PATIENCE_S
        while not self.arrivals or self.arrivals[-1] <= moment:
            if time.monotonic() > deadline:
                raise Late(f"no packet after {_PATIENCE_S:.0f} s")
            time.sleep(_INTERVAL_S)
        return self.arrivals[bisect.bisect_right(self.arrivals, moment)]

    def close(self) -> None:
        """Send no more."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._receiver.close()
        self._sender.close()

    def _send(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            with contextlib.suppress(OSError):
                self._sender.send(b"weft")

    def _receive(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                self._receiver.recv(64)
                self.arrivals.append(time.monotonic())


def main() -> None:
    """Measure, and print what came of it."""
    name = sys.argv[1] if len(sys.argv) > 1 else "1000"
    document = generate(SIZES[name])
    with tempfile.TemporaryDirectory(prefix="weft-faults-") as base:
        folder = Path(base) / "topology"
        edited = places(document, [host["name"] for host in document["hosts"]])
        write_topology(with_spares(document, edited), folder)
        with open_site(load(folder), folder, Path(base) / "lab", len(document["hosts"]), edited) as site:
            site.write(document)
            site.controller.start()
            site.controller.wait_in_sync()
            site.touch_switches()
            _print_recovery(site, document)
            _print_hanging(site, document)


def _print_recovery(site: Site, document: Document) -> None:
    """Kill a host's ovs-vswitchd and start it again, several times."""
    client, server = _talkers(document)
    host = server["host"]
    packets, sync, flows = [], [], 0
    stream = Stream(site, client, server)
    try:
        for _ in range(_RUNS):
            stream.first_after(time.monotonic())
            up = _restart(site, host)
            sync.append(site.controller.wait_in_sync() - up[1])
            packets.append(stream.first_after(up[0]) - up[0])
            flows = sum(count for place, count in site.count_flows().items() if place[0] == host)
    finally:
        stream.close()
    _say(f"ovs-vswitchd of {host} with {flows} flows killed, from its start to packets", Timing.of(packets))
    _say(f"ovs-vswitchd of {host} with {flows} flows killed, from its start to in sync", Timing.of(sync))


def _restart(site: Site, host: str) -> tuple[float, float]:
    """Return when the daemon was up again, by the monotonic clock and the performance counter."""
    switch, state = site.lab.switch(host), site.lab._state  # noqa: SLF001 - The lab has no verb for it.
    pid = int((switch.directory / "ovs-vswitchd.pid").read_text(encoding="ascii"))
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, signal.SIGKILL)
    select.select([handle], [], [], _PATIENCE_S)
    os.close(handle)
    site.lab.exec_host(host, ["ovs-vswitchd", switch.database, *_DAEMON], check=True)
    up = time.monotonic(), time.perf_counter()
    carry_underlay(state, site.lab.plan.hosts[host])
    introduce(state)
    return up


def _print_hanging(site: Site, document: Document) -> None:
    """Change rules while all switches work, and while one of them is stopped."""
    place = next(place for place in places(document, site.hosts))
    state = texts(document, place)
    host = next(host for host in site.hosts if host not in (place.home, place.away))
    variants = (state.rule_changed, state.base)
    _say("rule changed, all switches at work", _edits(site, place.tenant, variants))
    pid = int((site.lab.switch(host).directory / "ovs-vswitchd.pid").read_text(encoding="ascii"))
    os.kill(pid, signal.SIGSTOP)
    try:
        _say(f"rule changed, {host} stopped", _edits(site, place.tenant, variants))
    finally:
        os.kill(pid, signal.SIGCONT)
    start = time.perf_counter()
    _say(f"{host} woken, until in sync", Timing.of([site.controller.wait_in_sync() - start]))


def _edits(site: Site, tenant: str, variants: tuple[str, str]) -> Timing:
    return Timing.of(_edit(site, tenant, variants[number % 2]) for number in range(_EDITS))


def _edit(site: Site, tenant: str, text: str) -> float:
    """Save a file; return after how many seconds the change was over, for those that answer."""
    time.sleep(_PAUSE_S)
    last = (site.controller.status() or {"changes": {"last": 0}})["changes"]["last"]
    with socket.socket(socket.AF_UNIX) as channel, channel.makefile("rw") as stream:
        channel.settimeout(_PATIENCE_S)
        channel.connect(str(site.lab.directory / "bench.sock"))
        stream.write(json.dumps({"do": "wait", "after": last, "deadline": _PATIENCE_S}) + "\n")
        stream.flush()
        start = time.perf_counter()
        site.save(tenant, text)
        answer = json.loads(stream.readline())
        taken = time.perf_counter() - start
    if "number" not in answer:
        raise Late(f"no change came of an edit: {answer}")
    return taken


def _talkers(document: Document) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two ports of one network on two hosts that may say anything to each other."""
    ports = [port for port in document["ports"] if port["groups"][0].endswith("-app")]
    return next(_pairs(ports))


def _pairs(ports: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for server in ports:
        for client in ports:
            if client["network"] == server["network"] and client["host"] != server["host"]:
                yield client, server


def _name(port: dict[str, Any]) -> str:
    return f"{port['tenant']}/{port['name']}"


def _say(what: str, timing: Timing) -> None:
    known = {"best": timing.best_s, "median": timing.median_s, "p99": timing.p99_s, "worst": max(timing.runs_s)}
    told = ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in known.items())
    print(f"{what}: {told} of {len(timing.runs_s)}", flush=True)


if __name__ == "__main__":
    main()
