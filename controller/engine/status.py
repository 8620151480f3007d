"""What `weft status` shows: the topology, every switch, the ports that are not where they should be, the last change sets."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from controller.engine.seats import Seat
from controller.switch.status import State, SwitchStatus

if TYPE_CHECKING:
    from controller.engine.engine import Engine


def status(engine: Engine) -> dict[str, Any]:
    """Return the engine's state as JSON has it. Any thread may ask."""
    topology, report = engine.intent.topology, engine.intent.report
    # In this order: a port that is told as seen has its flows if nothing is being followed afterwards.
    unbound = engine.observed.unplugged(topology) if topology else []
    is_following = engine.is_following
    resting, ending = (engine.delivery.resting(), engine.delivery.ending()) if engine.delivery else (set(), Counter())
    known = engine.switches.statuses() if engine.switches else {}
    switches = [
        _switch(dpid, seat, known.get(dpid), ending[dpid], is_changing=is_following or dpid in resting)
        for dpid, seat in engine.seats.items()
    ]
    switches.sort(key=lambda switch: (switch["host"], switch["bridge"]))
    return {
        "topology": topology.name if topology else None,
        "folder": str(engine.folder.absolute()),  # Who asks may stand elsewhere.
        "accepted": report.accepted,
        "refused": [] if report.accepted else list(report.problems),
        "in_sync": report.accepted and all(switch["state"] == State.IN_SYNC for switch in switches),
        "switches": switches,
        "changes": engine.delivery.record.tell() if engine.delivery else {"last": 0, "recent": []},
        "databases": engine.names.problems(),
        "questions": engine.questions.tell(),
        "neighbours": engine.resolver.tell(),
        "drained": engine.outward.drained(),
        "routers": engine.outward.tell_routers(topology) if topology else [],
        "floating_ips": engine.outward.tell_floating(topology) if topology else [],
        "ports": {
            "bound": len(topology.ports) - len(unbound) if topology else 0,
            "unbound": unbound,
            "refused": engine.observed.misplaced(topology) if topology else [],
        },
    }


def _switch(dpid: int, seat: Seat, found: SwitchStatus | None, ending: int, *, is_changing: bool) -> dict[str, Any]:
    audited = found.last_audit if found else None
    state = found.state if found else State.DOWN
    if is_changing and state is State.IN_SYNC:
        state = State.SYNCING  # It may not hold yet what follows, or connections are still to end.
    return {
        "host": seat.host,
        "bridge": seat.bridge,
        "dpid": f"{dpid:016x}",
        "state": state.value,
        "peer": found.peer if found else "",
        "flows_desired": found.flows_desired if found else 0,
        "flows_installed": found.flows_installed + ending if found else 0,
        "added": found.added if found else 0,
        "modified": found.modified if found else 0,
        "deleted": found.deleted if found else 0,
        "last_error": found.last_error if found else None,
        "sync_seconds": found.sync_seconds if found else None,
        "audits": found.audits if found else 0,
        "repaired": found.repaired if found else 0,
        "audit_age_seconds": None if audited is None else round(time.monotonic() - audited, 1),
    }
