"""What the control socket answers: the requests of `weft status`, `apply`, `audit` and `reload`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from controller.engine.engine import Engine, Request

_DEADLINE_S = 60.0


def answer(engine: Engine, question: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one request.

    {"do": "status"}                            what `weft status` shows
    {"do": "reload"}                            read the files; whether they are in force, and their problems
    {"do": "apply", "rollback": false, "deadline": 60}     the same, with the change set once the switches have taken it
    {"do": "wait", "after": 7, "deadline": 60}  the first change set with a higher number, once it is over
    {"do": "audit", "hosts": ["hv1"], "deadline": 60}      what every switch (of these hosts) held; differences are repaired
    """
    deadline_s = float(question.get("deadline", _DEADLINE_S))
    match question.get("do"):
        case "status":
            return engine.status()
        case "reload":
            report = engine.reload(deadline_s)
            return {"accepted": report.accepted, "problems": list(report.problems)}
        case "apply":
            return _applied(engine.apply(rolls_back=bool(question.get("rollback")), deadline_s=deadline_s))
        case "wait":
            return _waited(engine, int(question.get("after", 0)), deadline_s)
        case "audit":
            return _audited(engine, question.get("hosts"), deadline_s)
        case other:
            return {"error": f"unknown request {other!r}"}


def _applied(wish: Request) -> dict[str, Any]:
    report = wish.report
    return {
        "accepted": report is not None and report.accepted,
        "problems": list(report.problems) if report else [],
        "change": None if wish.change is None else asdict(wish.change),
        "rolled_back": wish.rolled_back,
    }


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
