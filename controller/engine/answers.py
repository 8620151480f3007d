"""What the control socket answers: the requests of `weft status`, `apply`, `audit`, `top` and `explain`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from controller.engine.counters import counters, totals
from controller.engine.delivery import Delivery
from controller.engine.engine import Engine
from controller.engine.explain import explain

_DEADLINE_S = 60.0
_POLL_S = 0.005
_READING_S = 5.0  # How long switches have to tell their counters.


def answer(engine: Engine, question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one request.

    {"do": "status", "counters": true}          what `weft status` shows; with `counters`, what was dropped as well
    {"do": "apply", "wait": true, "rollback": false, "deadline": 60}     read the files; with `wait`, until the switches took them
    {"do": "wait", "after": 7, "deadline": 60}  the first change set with a higher number, once it is over
    {"do": "audit", "hosts": ["hv1"], "deadline": 60}      what every switch (of these hosts) held; differences are repaired
    {"do": "counters", "host": "hv1", "tenant": "red"}     what rules let in and what was dropped, of all unless one is named
    {"do": "drain", "host": "hv1", "drained": true}        has a host lead out only if nobody else can, or as its place is
    {"do": "explain", "port": "red/web1"}       where a port is, and what was counted for it
    """
    deadline_s = float(question.get("deadline", _DEADLINE_S))
    match question.get("do"):
        case "status":
            told = engine.status()
            return told | {"counters": totals(engine)} if question.get("counters") else told
        case "apply":
            return _applied(engine, question, deadline_s)
        case "wait":
            return _waited(engine, int(question.get("after", 0)), deadline_s)
        case "audit":
            return _audited(engine, question.get("hosts"), deadline_s)
        case "counters":
            host, tenant = question.get("host"), question.get("tenant")
            return counters(engine, host and str(host), tenant and str(tenant), _reading_s(question))
        case "drain":
            return _drained(engine, str(question.get("host")), bool(question.get("drained", True)), deadline_s)
        case "explain":
            return explain(engine, str(question.get("port")), _reading_s(question))
        case other:
            return {"error": f"unknown request {other!r}"}


def _reading_s(question: Mapping[str, Any]) -> float:
    return float(question.get("deadline", _READING_S))


def _applied(engine: Engine, question: Mapping[str, Any], deadline_s: float) -> dict[str, Any]:
    """Have the files read; wait until every connected switch took them or one refused; go back if that is wished for."""
    until = time.monotonic() + deadline_s
    wish = engine.reload(deadline_s)
    delivery = engine.delivery
    behind: set[int] = set()
    rolled_back = False
    if delivery is not None and question.get("wait") and wish.report.accepted:
        behind = _behind(engine, delivery)
        while len(behind) > len(delivery.absent(behind)) and not delivery.refused(behind) and time.monotonic() < until:
            time.sleep(_POLL_S)
            behind = _behind(engine, delivery)
    troubles = delivery.troubles(behind) if delivery is not None else ()
    # A host that is away is no reason to go back: it gets its share when it comes.
    if delivery is not None and question.get("rollback") and len(behind) > len(delivery.absent(behind)):
        rolled_back = engine.roll_back(deadline_s).change is not None
    return {
        "accepted": wish.report.accepted,
        "problems": list(wish.report.problems),
        "change": None if wish.change is None else asdict(wish.change),
        "troubles": list(troubles),
        "rolled_back": rolled_back,
    }


def _behind(engine: Engine, delivery: Delivery) -> set[int]:
    """Return the switches that do not hold what the files say: some of a change is missing, or all since the controller has started."""
    unmet = {dpid for dpid in engine.seats if engine.switches is not None and not engine.switches.is_in_sync(dpid)}
    return delivery.behind() | unmet


def _drained(engine: Engine, host: str, is_drained: bool, deadline_s: float) -> dict[str, Any]:
    """Drain a host, or have it lead out again; return the change set once the switches have it."""
    topology = engine.intent.topology
    known = None if topology is None else topology.hosts.get(host)
    if known is None:
        return {"error": f"no host is called {host}"}
    if is_drained and not known.gateway:
        return {"error": f"{host} is no gateway ({known.place}): it leads nobody out"}
    change = engine.drain(host, is_drained, deadline_s).change
    return {"host": host, "drained": is_drained, "change": None if change is None else asdict(change)}


def _waited(engine: Engine, after: int, deadline_s: float) -> dict[str, Any]:
    change = engine.delivery.record.wait(after, deadline_s) if engine.delivery else None
    return {"error": f"nothing changed within {deadline_s:.0f} s"} if change is None else asdict(change)


def _audited(engine: Engine, hosts: Any, deadline_s: float) -> dict[str, Any]:
    wanted = None if hosts is None else {str(host) for host in hosts}
    dpids = [dpid for dpid, seat in engine.seats.items() if wanted is None or seat.host in wanted]
    reports = engine.switches.audit(dpids, deadline_s) if engine.switches else []
    now = time.monotonic()
    told = []
    for report in reports:
        seat = engine.seats.get(report.dpid)
        told.append(
            {"host": seat.host if seat else None, "bridge": seat.bridge if seat else None}
            | {"is_clean": report.is_clean}
            | report.to_json(now)
        )
    told.sort(key=lambda each: (str(each["host"]), str(each["bridge"])))
    return {"clean": all(report.is_clean for report in reports), "audits": told}
