"""Which port an OpenFlow number on a host is. Each user has one of its own, for its own thread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from controller.engine.engine import Engine


class Plugged:
    """The ports by number, turned round from what is observed, once for each time that it changes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._names: dict[
            str, tuple[Mapping[str, int], dict[int, str]]
        ] = {}  # By host: a mapping, and it turned round.

    def port_at(self, host: str, bridge: str, number: int) -> str | None:
        """Return the port of the files whose interface has a number on a host's br-int."""
        told = self._engine.observed.bindings(host).ports.get(bridge, {})
        known, names = self._names.get(host, ({}, {}))
        if known is not told:
            names = {its_number: interface for interface, its_number in dict(told).items()}
            self._names[host] = told, names
        return self._engine.port_at(names.get(number, ""))
