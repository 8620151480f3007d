"""The one OSKenApp: switch events in, engine calls out, nothing more.

osken-manager controller.app --topology DIR
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from os_ken.base.app_manager import OSKenApp
from os_ken.controller import ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from os_ken.ofproto import ofproto_v1_4

from controller import control
from controller.engine import Engine
from controller.engine.answers import answer
from controller.engine.connection_log import ConnectionLog
from controller.switch.interfaces import Interfaces
from controller.switch.options import CONF
from controller.switch.registry import Switches
from controller.switch.runtime import files
from controller.watch import Watcher, signature

LOG = logging.getLogger(__name__)

_LAST_WORDS_S = 0.3


class BadTopology(Exception):
    """The files cannot be used; `problems` are texts for people."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class LoadedEngine(Engine):
    """The engine with the files of `--topology` in force. os-ken makes it before it opens any port."""

    def __init__(self) -> None:
        if CONF.topology is None:
            raise BadTopology(("controller.app needs --topology DIR, the folder with fabric.yaml",))
        super().__init__(Path(CONF.topology))
        # What is saved between this load and the start of the watch is noticed by the difference.
        self.files_at_load = signature(self.folder)
        report = self.load()
        if not report.accepted:
            raise BadTopology(report.problems)

    def close(self, deadline_s: float = _LAST_WORDS_S) -> None:
        """Stop handling events; os-ken calls this without an argument."""
        super().close(deadline_s)


class Weft(OSKenApp):
    """Keeps every switch that connects at what the topology says."""

    OFP_VERSIONS = (ofproto_v1_4.OFP_VERSION,)
    _CONTEXTS = {"engine": LoadedEngine}  # noqa: RUF012 - os-ken reads the class's own attribute.

    def __init__(self, *args: Any, engine: LoadedEngine, **contexts: Any) -> None:
        super().__init__(*args, **contexts)
        self.engine = engine
        self._connections = ConnectionLog(engine, Path(CONF.connection_log) if CONF.connection_log else None)
        self.switches = Switches(
            *(engine, engine.host_of, engine.table_name),
            locate=engine.locate,
            audit_s=CONF.audit_interval,
            on_packet=self._packet_came,
        )
        self.databases = Interfaces(engine.named, files())
        engine.attach(self.switches, self.databases)
        self._watcher = Watcher(engine.folder, engine.reload_soon, engine.files_at_load)
        path = Path(CONF.control or control.default_path())
        self._control = control.ControlServer(path, partial(answer, engine))

    def start(self) -> None:
        """Begin to work; os-ken's listener starts after this."""
        super().start()
        self._connections.start()
        self.engine.start()
        self._watcher.start()
        try:
            self._control.start()
        except OSError as problem:
            if CONF.control is not None:
                raise
            # The place was not the user's choice: without it `weft status` is blind, and the network works.
            LOG.warning("`weft status` will find nobody: %s", problem)

    def close(self) -> None:
        """Leave, with the switches as they are."""
        self._watcher.close()
        self._control.close()
        self.databases.close(_LAST_WORDS_S)
        self.switches.close(_LAST_WORDS_S)
        self._connections.close(_LAST_WORDS_S)
        self.engine.close(_LAST_WORDS_S)

    def reload(self) -> None:
        """Read the files again; what is refused changes nothing."""
        self.engine.reload_soon()

    def _packet_came(self, dpid: int, frame: bytes) -> None:
        """Take a packet that a switch has sent: a question, or a sample for the log."""
        if not self.engine.questions.take(dpid, frame):
            self._connections.put(dpid, frame)

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER, DEAD_DISPATCHER])
    def state_changed(self, event: Any) -> None:
        """A switch has finished its handshake, or is gone."""
        if event.state == MAIN_DISPATCHER:
            self.switches.opened(event.datapath)
        else:
            self.switches.closed(event.datapath)

    @set_ev_cls(ofp_event.EventOFPPortStateChange, MAIN_DISPATCHER)
    def ports_changed(self, event: Any) -> None:
        """A port came, went or changed."""
        self.switches.ports_changed(event.datapath)
