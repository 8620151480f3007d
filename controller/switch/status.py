"""What is known of a switch, as values: its state, its numbers, its last error. No os-ken, so that every room may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class State(StrEnum):
    """How far a switch is from its program.

    DOWN ──► CONNECTED ──► SYNCING ──► IN_SYNC
                              ▲  ▼        │ a new program
                           DEGRADED ◄──► SYNCING
    """

    DOWN = "down"
    CONNECTED = "connected"
    SYNCING = "syncing"
    IN_SYNC = "in sync"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class SwitchStatus:
    """One switch at one moment. `added`, `modified`, `deleted` and `sync_seconds` are the last sync's.

    `since` is the monotonic time of the last change of state, `last_error` what went wrong in the words of the files.
    """

    dpid: int
    state: State
    peer: str
    flows_desired: int
    flows_installed: int
    added: int
    modified: int
    deleted: int
    groups: int
    last_error: str | None
    since: float
    sync_seconds: float | None


def unseen(dpid: int, since: float) -> SwitchStatus:
    """Return the status of a switch that has never connected."""
    return SwitchStatus(dpid, State.DOWN, "", 0, 0, 0, 0, 0, 0, None, since, None)


class Observer(Protocol):
    """Who wants to know of switches. All calls come from one thread, one at a time."""

    def connected(self, dpid: int, ports: Mapping[str, int]) -> None:
        """A switch is there, with these ports by interface name; called again whenever its ports change."""

    def disconnected(self, dpid: int) -> None:
        """A switch is gone."""

    def changed(self, status: SwitchStatus) -> None:
        """A switch changed its state."""
