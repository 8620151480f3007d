"""Meters, which no bundle takes: those that come are in force before the flows that use them, those that go leave after these.

A meter-mod adds or modifies, and is refused if the meter is there or is not: then the other is tried. So meters may be sent twice, as
all else may. Open vSwitch deletes the flows of a meter that is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controller.pipeline.flow import Meter
from controller.switch.bundle import ANSWER_S, Refused, errors_until, in_short
from controller.switch.changes import Changes, Subject
from controller.switch.session import Session
from controller.wire import message, pack
from controller.wire.dump import HeldMeter
from controller.wire.message import MessageType
from controller.wire.pack import MeterCommand

Mod = tuple[MeterCommand, Meter | HeldMeter]

# What is wrong with the command and not with the meter.
_OTHERWISE = {"OFPMMFC_METER_EXISTS": MeterCommand.MODIFY, "OFPMMFC_UNKNOWN_METER": MeterCommand.ADD}


def put_meters(session: Session, changes: Changes, tell: Callable[[Subject], str]) -> None:
    """Make a switch hold the meters that are new or altered; raise Refused or Unpackable if it does not hold all of them then."""
    mods: list[Mod] = [(MeterCommand.ADD, meter) for meter in changes.new_meters]
    mods += [(MeterCommand.MODIFY, meter) for meter in changes.altered_meters]
    refusals = _send(session, mods)
    _complain([refusal for refusal in refusals if refusal[0] not in _OTHERWISE], tell)
    _complain(_send(session, [(_OTHERWISE[error], meter) for error, meter in refusals]), tell)


def drop_meters(session: Session, changes: Changes, tell: Callable[[Subject], str]) -> None:
    """Make a switch forget the meters that go; raise Refused if it does not."""
    _complain(_send(session, [(MeterCommand.DELETE, meter) for meter in changes.meter_deletes]), tell)


def _send(session: Session, mods: Sequence[Mod]) -> list[tuple[str, Meter | HeldMeter]]:
    """Send meter-mods; return the names of the errors, and what each is about."""
    if not mods:
        return []
    with session.claim(len(mods) + 1) as claim:
        barrier = claim.first + len(mods)
        frames = [
            message.frame(MessageType.METER_MOD, xid, _body(*mod)) for xid, mod in enumerate(mods, start=claim.first)
        ]
        session.write(b"".join(frames) + message.barrier(barrier))
        errors = errors_until(claim, MessageType.BARRIER_REPLY, barrier, ANSWER_S)
    return [(error.name, mods[error.xid - claim.first][1]) for error in errors if error.xid != barrier]


def _complain(refusals: Sequence[tuple[str, Meter | HeldMeter]], tell: Callable[[Subject], str]) -> None:
    if refusals:
        raise Refused(in_short([f"{error}: {tell(meter)}" for error, meter in refusals]))


def _body(command: MeterCommand, meter: Meter | HeldMeter) -> bytes:
    if isinstance(meter, HeldMeter) or command is MeterCommand.DELETE:
        return pack.meter_mod(command, meter.id)
    return pack.meter_mod(command, meter.id, pack.meter_config(meter))
