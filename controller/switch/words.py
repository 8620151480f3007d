"""What is on a switch in the words of the files: flows with the names of tables and ports, and the line they come from."""

from __future__ import annotations

from collections.abc import Callable

from controller.pipeline.flow import Flow, Group, Origin
from controller.pipeline.text import flow_text, group_text, match_text
from controller.switch.changes import Subject
from controller.switch.session import Session
from controller.wire import dump
from controller.wire.dump import NO_SETTINGS, HeldFlow
from controller.wire.message import MessageType
from controller.wire.oxm import read_match

TableName = Callable[[int, int], str]
Locate = Callable[[Origin], Origin]


class Words:
    """The words for one session's switch.

    Args:
        session: Whose ports give the names.
        table_name: What a table of a datapath is called.
        locate: Where an origin stands in the files by now.
    """

    def __init__(self, session: Session, table_name: TableName, locate: Locate) -> None:
        self._session = session
        self._table_name = table_name
        self._locate = locate

    def tell(self, subject: Subject) -> str:
        """Return what a message is about, and where it comes from."""
        match subject:
            case Flow():
                text = flow_text(subject, table_name=self.table, port_name=self.port)
                return f"flow {text}, from {self._locate(subject.origin)}"
            case Group():
                text = group_text(subject, table_name=self.table, port_name=self.port)
                return f"group {text}, from {self._locate(subject.origin)}"
            case HeldFlow():
                return f"flow {self._held(subject)}, which is not of Weft's program"
            case int():
                return f"group group_id={subject}, which is not of Weft's program"

    def table(self, number: int) -> str:
        """Return a table's name."""
        return self._table_name(self._session.id, number)

    def port(self, number: int) -> str | None:
        """Return a port's name, None if it has none."""
        port = self._session.ports.get(number)
        return None if port is None else port.name.decode(errors="replace")

    def _held(self, flow: HeldFlow) -> str:
        conditions = read_match(flow.match)
        text = flow.match.hex() if conditions is None else match_text(conditions, port_name=self.port, separator=", ")
        settings = "" if flow.settings == NO_SETTINGS else ", with a timeout or flags"
        return (
            ", ".join(filter(None, (f"table={self.table(flow.table)}", f"priority={flow.priority}", text))) + settings
        )


def unasked_text(frame: bytes) -> str:
    """Return what an error message that nobody waits for is about, as far as it says so."""
    error = dump.error(frame)
    kind = error.data[1] if len(error.data) > 1 else -1
    names = {int(member): member.name.lower().replace("_", "-") for member in MessageType}
    return f"a message, {names.get(kind, f'of type {kind}')}, xid {error.xid}: {error.name}"
