"""What the engine asks of a switch and what its sessions report, one after another."""

from __future__ import annotations

import time

from controller.pipeline.flow import Output, Program, match
from controller.switch.target import Order, Retry, Target, Work
from tests.switch.edits import put
from tests.switch.harness import flow, program

OLD, NEW = "a session", "the session that replaced it"
NEVER = Retry(at=1e9, new_at=0.0)


def order(target: Target, session: str, retry: Retry | None = None) -> Order:
    found = target.next(session, retry, None)
    assert found is not None
    return found


def synced(target: Target, session: str, ours: Program) -> None:
    target.begin(session)
    target.set(ours)
    assert order(target, session).work is Work.SYNC
    _, version = target.take_up(session)
    target.confirm(session, version)


def test_what_a_replaced_session_reports_is_not_heard() -> None:
    target, ours = Target(), program(1)
    target.begin(OLD)
    target.set(ours)
    _, version = target.take_up(OLD)
    target.begin(NEW)
    target.confirm(OLD, version)
    assert (target.is_held, target.is_reached, target.next(OLD, None, None)) == (False, False, None)
    target.set(ours)
    assert order(target, NEW).work is Work.SYNC


def test_a_change_comes_before_an_audit_that_was_asked_for() -> None:
    target, ours = Target(), program(1)
    synced(target, NEW, ours)
    ticket = target.ask_audit()
    version = target.change(put(ours, flow(0, 10, match(in_port=1), Output(2))))
    first = order(target, NEW)
    target.confirm(NEW, first.version)
    second = order(target, NEW)
    assert (first.work, first.version, len(first.delta)) == (Work.CHANGE, version, 1)
    assert (second.work, second.ticket) == (Work.AUDIT, ticket)


def test_a_program_given_anew_is_compared_anew() -> None:
    target, ours = Target(), program(1)
    synced(target, NEW, ours)
    assert target.is_held
    target.set(ours)
    assert (target.is_held, order(target, NEW).work) == (False, Work.SYNC)


def test_a_refusal_is_followed_by_a_sync_and_sooner_by_one_with_something_new() -> None:
    target, ours = Target(), program(1)
    synced(target, NEW, ours)
    refused = target.change(put(ours, flow(0, 10, match(in_port=1), Output(2))))
    assert order(target, NEW).work is Work.CHANGE
    target.refuse(NEW)
    assert (target.is_held, target.wait(refused, 1e6)) == (False, False)
    assert order(target, NEW, Retry(at=time.monotonic(), new_at=1e9)).work is Work.SYNC
    target.change(put(ours, flow(0, 10, match(in_port=1), Output(3))))
    assert order(target, NEW, NEVER).work is Work.SYNC


def test_an_audit_that_is_asked_for_does_not_wait_for_the_next_try() -> None:
    target = Target()
    synced(target, NEW, program(1))
    target.refuse(NEW)
    target.ask_audit()
    assert order(target, NEW, Retry(at=1e9, new_at=1e9)).work is Work.SYNC
