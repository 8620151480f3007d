"""What is on a switch in the words of the files: flows with the names of tables and ports, and the line they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from controller.pipeline.flow import Flow, Group, Meter, Origin
from controller.pipeline.text import flow_text, group_text, match_text, meter_text
from controller.switch.changes import Subject
from controller.switch.session import Session
from controller.wire.dump import NO_SETTINGS, HeldFlow, HeldMeter
from controller.wire.errors import SwitchError
from controller.wire.message import HEADER, WRAPPED, MessageType
from controller.wire.oxm import read_match

TableName = Callable[[int, int], str]
Locate = Callable[[Origin], Origin]

_KINDS = {int(member): member.name.lower().replace("_", "-") for member in MessageType}
_FLOW_KNOWN, _GROUP_KNOWN = 24, 8  # The bytes of a flow-mod and a group-mod that say which one it is.


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
            case Meter():
                return f"meter {meter_text(subject)}, from {self._locate(subject.origin)}"
            case HeldMeter(number):
                return f"meter meter={number}, which is not of Weft's program"
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

    def complaint(self, error: SwitchError, flows: Iterable[Flow]) -> str:
        """Return what an error that answers no request of ours is about, as far as it says so; it may be about one of `flows`."""
        data, body_at = error.data, HEADER.size
        kind = data[1] if len(data) > 1 else -1
        if kind == MessageType.BUNDLE_ADD_MESSAGE and len(data) > WRAPPED:
            kind, body_at = data[WRAPPED - HEADER.size + 1], WRAPPED
        body = data[body_at:]
        name = _KINDS.get(kind, f"message of type {kind}")
        if kind == MessageType.FLOW_MOD and len(body) >= _FLOW_KNOWN:
            cookie, table, priority = body[:8], body[16], int.from_bytes(body[22:24], "big")
            ours = next((flow for flow in flows if flow.packed is not None and flow.packed[:8] == cookie), None)
            about = self.tell(ours) if ours else f"table={self.table(table)}, priority={priority}"
        elif kind == MessageType.GROUP_MOD and len(body) >= _GROUP_KNOWN:
            about = f"group_id={int.from_bytes(body[4:8], 'big')}"
        else:
            about = f"xid {error.xid}"
        return f"{error.name}: a {name} that nobody waits for, {about}"

    def _held(self, flow: HeldFlow) -> str:
        conditions = read_match(flow.match)
        text = flow.match.hex() if conditions is None else match_text(conditions, port_name=self.port, separator=", ")
        settings = "" if flow.settings == NO_SETTINGS else ", with a timeout or flags"
        parts = (f"table={self.table(flow.table)}", f"priority={flow.priority}", text)
        return ", ".join(filter(None, parts)) + settings
