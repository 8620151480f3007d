"""The controller as a process of its own, asked over its control socket."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Usage, usage
from controller import control
from controller.pipeline.flow import Program

Held = Mapping[tuple[str, str], int]  # (host, bridge) -> flows

_PATIENCE_S = 300.0
_POLL_S = 0.01  # Asking takes the controller's time as well.
_PAUSE_S = 0.03  # A user's edits do not follow each other without a pause.


class Late(Exception):
    """The controller or a switch did not get there in time; the message says what was seen last."""


def held(programs: list[Program]) -> Held:
    """Return how many flows each bridge shall hold."""
    return Counter({(program.host, program.bridge): len(program.flows) for program in programs})


class Controller:
    """`weft run` on a folder, started and ended as often as needed; `directory` is for its socket and its log."""

    def __init__(self, folder: Path, listen: str, directory: Path) -> None:
        self._folder = folder
        self._listen = listen
        self._socket = directory / "bench.sock"
        self._log = directory / "bench.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.change = 0  # The number of the last change that we have heard of.

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running controller."""
        if self._process is None:
            raise Late("the controller does not run")
        return self._process

    def start(self) -> None:
        """Start it; returns at once."""
        words = ["-m", "controller.cli", "run", str(self._folder)]
        words += ["--listen", self._listen, "--control", str(self._socket)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait until it is gone; the switches keep what they hold."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_PATIENCE_S)
            self._process = None

    def kill(self) -> None:
        """End it without a chance to say goodbye."""
        self.stop(signal.SIGKILL)

    def close(self) -> None:
        """End it, wherever the measurements stopped, and remove what it leaves."""
        self.kill()
        for path in (self._socket, self._log):
            path.unlink(missing_ok=True)

    def usage(self) -> Usage:
        """Return what it has used."""
        return usage(self.process.pid)

    def status(self) -> dict[str, Any] | None:
        """Return its status, None while nobody answers."""
        if self.process.poll() is not None:
            raise Late(f"the controller ended:\n{self._last_words()}")
        with contextlib.suppress(control.NoController, ValueError):
            status = control.request(self._socket, {"do": "status"})
            self.change = status["changes"]["last"]
            return status
        return None

    def flow_mods(self) -> int:
        """Return how many flows it has added, changed and deleted on the switches since they connected."""
        switches = (self.status() or {"switches": ()})["switches"]
        return sum(each["added"] + each["modified"] + each["deleted"] for each in switches)

    def wait_answering(self) -> float:
        """Wait until it answers; return when that was."""
        while self.status() is None:
            time.sleep(_POLL_S)
        return time.perf_counter()

    def wait_in_sync(self, wanted: Held | None = None) -> float:
        """Wait until every bridge is in sync, and holds so many flows if told how many; return when that was."""
        return self._wait(lambda status: status["in_sync"] and wanted in (None, installed(status)), "not in sync")

    def wait_unbound(self, ports: list[str]) -> None:
        """Wait until exactly these ports have no interface, and the switches know."""
        self._wait(
            lambda status: status["in_sync"] and status["ports"]["unbound"] == ports,
            f"{ports} are not without interface",
        )

    def wait_unclaimed(self) -> None:
        """Wait until no interface is where its port is not, and what came of that is over."""
        self._wait(lambda status: not status["ports"]["refused"], "some interfaces are where their ports are not")
        time.sleep(_PAUSE_S)
        self.wait_in_sync()

    def _wait(self, is_there: Callable[[dict[str, Any]], bool], otherwise: str) -> float:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            status = self.status()
            if status is not None and is_there(status):
                return time.perf_counter()
            if time.monotonic() > deadline:
                raise Late(f"{otherwise} after {_PATIENCE_S:.0f} s: {status}\n{self._last_words()}")
            time.sleep(_POLL_S)

    def confirm(self, edit: Callable[[], object]) -> float:
        """Do an edit; return the seconds from before it until every switch that it concerns has confirmed its part.

        Nobody tells the controller of the edit: it has to notice. It is asked before the clock starts, and answers when the change
        is done, so that neither asking nor polling is in the figure.
        """
        time.sleep(_PAUSE_S)
        question = {"do": "wait", "after": self.change, "deadline": _PATIENCE_S}
        with socket.socket(socket.AF_UNIX) as channel:
            channel.settimeout(_PATIENCE_S)
            channel.connect(str(self._socket))
            channel.sendall(json.dumps(question).encode() + b"\n")
            with channel.makefile("rb") as stream:
                start = time.perf_counter()
                edit()
                line = stream.readline()
                taken = time.perf_counter() - start
        answer = json.loads(line or b"{}")
        if answer.get("state") not in ("done", "late") or not answer["flows"]:
            raise Late(f"the controller says of an edit: {answer}\n{self._last_words()}")
        self.change = answer["number"]
        # A change is late when the controller does not wait for a slow switch any longer; whoever measures does.
        return taken if answer["state"] == "done" else self.wait_in_sync() - start

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


def installed(status: Mapping[str, Any]) -> Held:
    """Return how many flows each bridge holds, as the controller says."""
    return Counter({(each["host"], each["bridge"]): each["flows_installed"] for each in status["switches"]})
