"""What switches ask, answered: packet-ins with a question go to whom the question is for, and what is yielded goes back.

    session ── take ──► Turns ──► one thread: who asks, from where ──► answerer ──► packet-out, straight to the switch

No switch and no engine waits for an answer, and nothing grows without bound: of each switch so many questions wait, and what is more is
counted and lost, as a server's is that is asked too much; whoever wants to know asks again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from controller.answers.asked import Answerer, Asked
from controller.answers.registry import answerers
from controller.engine.advertisements import Advertisements
from controller.engine.plugged import Plugged
from controller.engine.turns import Turns
from controller.model.entities import Network, Port, Router, Topology
from controller.model.ids import key
from controller.pipeline.fields import BY_NAME
from controller.pipeline.questions import Question
from controller.pipeline.registers import NETWORK, QUESTION, SOURCE, Register
from controller.pipeline.tables import Bridge
from controller.wire.packet_out import TooLong, packet_out
from controller.wire.sample import NoSample, Sample, read_sample

if TYPE_CHECKING:
    from controller.engine.engine import Engine

LOG = logging.getLogger(__name__)

ROOM = 256  # Questions of a switch that wait: half of what its host's meter lets through in a second.
_QUIET_S = 60.0

_QUESTIONS = frozenset(map(int, Question))
_IN_PORT = BY_NAME["in_port"].index


class Questions:
    """Finds who asks, has the question answered, and sends what comes of it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._answerers: dict[Question, Answerer] = dict(answerers())
        self._turns: Turns[Sample | None] = Turns(ROOM)
        self._counts: Counter[str] = Counter()
        self._lost = 0
        self._advertisements = Advertisements(engine)
        self._names = _Names()
        self._plugged = Plugged(engine)
        self._complained = -_QUIET_S
        self._thread = threading.Thread(target=self._run, name="questions", daemon=True)

    def register(self, question: Question, answerer: Answerer) -> None:
        """Have a question answered by something that remembers; before `start`."""
        self._answerers[question] = answerer

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self, deadline_s: float) -> None:
        """Stop; what waits stays unanswered."""
        if self._thread.is_alive():
            self._turns.put(0, None)
            self._thread.join(deadline_s)

    def take(self, dpid: int, frame: bytes) -> bool:
        """Take a packet-in if it asks something; return False if it does not. Any thread may call it; never blocks."""
        try:
            sample = read_sample(frame)
        except NoSample:
            return False
        if not _register(sample.fields, QUESTION):
            return False
        if not self._turns.put(dpid, sample):
            # Several threads count, and none of them waits for another: what two count at once may be told as one.
            self._lost += 1
        return True

    def tell(self) -> dict[str, Any]:
        """Return how many questions were answered, by kind, and how many were not, as JSON has it."""
        counts = self._counts.copy()
        by_kind = {question.name.lower(): counts[question.name] for question in Question if counts[question.name]}
        told = {"answers": counts["answers"], "unanswered": counts["unanswered"], "lost": self._lost}
        return {"asked": by_kind, **told, "advertisements": self._advertisements.sent}

    def _run(self) -> None:
        while True:
            turn = self._turns.take(self._advertise())
            if turn is None:
                continue
            dpid, sample = turn
            if sample is None:
                return
            try:
                self._answer(dpid, sample)
            except Exception:
                # A defect of ours costs an answer, and not the others theirs.
                self._counts["unanswered"] += 1
                if self._may_complain():
                    LOG.exception("a question could not be answered")

    def _advertise(self) -> float:
        """Send what is due without a question; return for how long there is nothing of the kind to do."""
        try:
            return self._advertisements.work()
        except Exception:
            if self._may_complain():
                LOG.exception("routers could not be advertised")
            return 1.0

    def _may_complain(self) -> bool:
        """Whether nothing has been said for a minute of what is wrong."""
        now = time.monotonic()
        is_due = now - self._complained >= _QUIET_S
        if is_due:
            self._complained = now
        return is_due

    def _answer(self, dpid: int, sample: Sample) -> None:
        asked, switches = self._understand(dpid, sample), self._engine.switches
        answerer = self._answerers.get(asked.question) if asked is not None else None
        if asked is None or answerer is None or switches is None:
            self._counts["unanswered"] += 1
            return
        self._counts[asked.question.name] += 1
        sent = 0
        for out in answerer(asked):
            try:
                sent += switches.send(dpid, packet_out(out.frame, out.actions, out.in_port))
            except TooLong as problem:
                LOG.error("an answer to %s cannot be sent: %s", asked.question.name, problem)
        self._counts["answers"] += sent

    def _understand(self, dpid: int, sample: Sample) -> Asked | None:
        """Return the question in the words of the files; None if they know nothing of who asks, or of what."""
        engine, number = self._engine, _register(sample.fields, QUESTION)
        topology, seat = engine.intent.topology, engine.seats.get(dpid)
        host = topology.hosts.get(seat.host) if topology is not None and seat is not None else None
        if topology is None or seat is None or host is None or seat.kind is not Bridge.INTEGRATION:
            return None
        if number not in _QUESTIONS:
            return None
        self._names.meet(topology)
        in_port, source = sample.fields.get(_IN_PORT, 0), _register(sample.fields, SOURCE)
        port = None
        if source:
            name = self._plugged.port_at(seat.host, seat.bridge, in_port)
            port = self._names.port(topology, name, source)
            if port is None:
                return None
        network = self._names.network(topology, port, _register(sample.fields, NETWORK))
        router = self._names.router(network)
        return Asked(
            *(Question(number), topology, host, in_port, port, network, router),
            *(sample.fields, sample.packet),
        )


class _Names:
    """What keys and names stand for, in the topology that was met last."""

    def __init__(self) -> None:
        self._topology: Topology | None = None
        self._networks: dict[int, str] | None = None
        self._subports: dict[str, dict[int, str]] | None = None
        self._routers: dict[str, Router] = {}

    def meet(self, topology: Topology) -> None:
        """Forget the former topology, if this is another."""
        if topology is not self._topology:
            self._topology = topology
            self._networks = self._subports = None
            self._routers = {name: router for router in topology.routers.values() for name in router.networks}

    def router(self, network: Network | None) -> Router | None:
        """Return the router that has a network."""
        return None if network is None else self._routers.get(network.name)

    def port(self, topology: Topology, name: str | None, source: int) -> Port | None:
        """Return the port with a key that has this interface, or the subport."""
        found = topology.ports.get(name or "")
        if found is None or key("port", found.name) == source:
            return found
        if self._subports is None:
            self._subports = {}
            for each in topology.ports.values():
                if each.parent is not None:
                    self._subports.setdefault(each.parent, {})[key("port", each.name)] = each.name
        return topology.ports.get(self._subports.get(found.name, {}).get(source, ""))

    def network(self, topology: Topology, port: Port | None, number: int) -> Network | None:
        """Return the network of a port, or that with a key."""
        if port is not None:
            return topology.networks.get(port.network)
        if self._networks is None:
            self._networks = {key("network", name): name for name in topology.networks}
        return topology.networks.get(self._networks.get(number, ""))


def _register(fields: Mapping[int, int], register: Register) -> int:
    return (fields.get(BY_NAME[register.field].index, 0) & register.mask) >> register.offset
