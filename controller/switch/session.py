"""One connection with a switch: os-ken's `Datapath` with threads and queues of our own.

os-ken (4.2.2) gives every connection a queue of 16 messages that blocks whoever sends, notices neither a closed
nor a silent peer, and decodes every message into objects. A session keeps os-ken's interface and handshake, and differs in how bytes move:

    reader thread   recv 256 KiB ─► frames ─┬─► claimed by xid: raw bytes to the claimant (dumps, bundles)
                                            └─► the rest: decoded by os-ken, to its handlers and apps
    writer thread   outbox, joined ─► send        the only writer; nobody else waits for a slow switch

The writer thread begins once the switch has sent its hello: who connects and says nothing costs one thread.

It ends, and says why, at a closed connection, 15 s without a sign of life, 15 s without taking a byte, a handshake
over 10 s, or a message that is not OpenFlow. All state events come from the reader thread, `DEAD` last and once.
"""

from __future__ import annotations

import itertools
import logging
import queue
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# os-ken's other modules can only be imported after this one.
import os_ken.base.app_manager  # noqa: F401
from os_ken.controller import controller, ofp_event
from os_ken.controller.handler import DEAD_DISPATCHER, HANDSHAKE_DISPATCHER, MAIN_DISPATCHER
from os_ken.ofproto import ofproto_parser

from controller.switch.hello import complaint, stranger
from controller.switch.outbox import Outbox, Overflow
from controller.switch.tls import Channel
from controller.wire.message import HEADER, MessageType, frame

LOG = logging.getLogger(__name__)

PERIOD_S = 5.0  # A quiet switch is asked for a sign of life this often,
STRIKES = 3  # and given up after this many silent periods.
HANDSHAKE_S = 10.0

_CHUNK = 256 * 1024
_LAST_XID = 0xFFFFFFF0


def handshake_deadline() -> float:
    """Return until when a connection that begins now must be through its handshake, by `time.monotonic`."""
    return time.monotonic() + HANDSHAKE_S


_SMALL = 64 * 1024  # What is not more than this is sent without waking the writer.


def _is_writable(sock: socket.socket) -> bool:
    eye = select.poll()
    eye.register(sock, select.POLLOUT)
    return bool(eye.poll(0))


class SessionOver(Exception):
    """The connection ended while somebody waited for an answer."""


class NoAnswer(Exception):
    """The switch lives but has not answered in time."""


class Claim:
    """A block of xids whose answers come here as raw frames, in place of going to os-ken."""

    def __init__(self, first: int, count: int) -> None:
        self.first = first
        self.count = count
        self._frames: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def put(self, frame: bytes | None) -> None:
        """Hand over a frame; None says that no more will come."""
        self._frames.put(frame)

    def next(self, timeout_s: float) -> bytes:
        """Return the next frame; raise SessionOver when there will be none and NoAnswer after the timeout."""
        try:
            frame = self._frames.get(timeout=timeout_s)
        except queue.Empty:
            raise NoAnswer(f"no answer within {timeout_s:.0f} s") from None
        if frame is None:
            raise SessionOver
        return frame


class Session(controller.Datapath):
    """A switch's connection; `id` is its datapath id once the handshake is done.

    `certificate_names` are the names in the certificate that the switch has shown, None where it was asked for none. The
    handshake must be over at `deadline`, of `time.monotonic`; `on_through` is called when it is.
    """

    def __init__(
        self,
        sock: socket.socket | Channel,
        address: Any,
        *,
        deadline: float | None = None,
        certificate_names: frozenset[str] | None = None,
        on_through: Callable[[], object] = lambda: None,
    ) -> None:
        self.outbox = Outbox()
        self.reason = "the connection was closed"
        self.on_error: Callable[[Session, bytes], None] | None = None  # Is told errors that answer no claim.
        self.on_packet: Callable[[Session, bytes], None] | None = None  # Is told packets, which then nobody else is.
        self.certificate_names = certificate_names
        self._lock = threading.Lock()
        self._xids = itertools.count(1)
        self._claims: tuple[Claim, ...] = ()
        self._is_greeted = False
        self._is_refused = False
        self._deadline = handshake_deadline() if deadline is None else deadline
        self._on_through = on_through
        self._writer = threading.Thread(target=self._write, daemon=True)
        super().__init__(sock, address)
        self.peer = f"{address[0]}:{address[1]}"
        self._writer.name = f"writer {self.peer}"

    # What jobs use: raw bytes out, raw frames in.

    @contextmanager
    def claim(self, count: int) -> Iterator[Claim]:
        """Reserve `count` consecutive xids; answers to them come to the claim while the block lasts."""
        with self._lock:
            first = next(self._xids)
            if first + count > _LAST_XID:
                first = 1
            self._xids = itertools.count(first + count)
            claim = Claim(first, count)
            self._claims = (*self._claims, claim)
            if self.is_over:
                claim.put(None)
        try:
            yield claim
        finally:
            with self._lock:
                self._claims = tuple(other for other in self._claims if other is not claim)

    def write(self, data: bytes) -> None:
        """Send bulk data, waiting while much is still unsent; raise SessionOver if the connection ended."""
        if len(data) <= _SMALL and self.outbox.put_through(data, self._send_now):
            return
        if not self.outbox.put_when_room(data):
            raise SessionOver

    def _send_now(self, data: bytes) -> int:
        """Send what the socket takes at once; an error is left to the writer, who meets it as well."""
        if not isinstance(self.socket, socket.socket):
            return 0  # A TLS record may have to wait for the other side.
        try:
            return self.socket.send(data, socket.MSG_DONTWAIT) if _is_writable(self.socket) else 0
        except OSError:
            return 0

    def is_alive_within(self, seconds: float) -> bool:
        """Ask the switch for a sign of life and wait for it; return whether it came in time."""
        with self.claim(1) as claim:
            if not self.send(frame(MessageType.ECHO_REQUEST, claim.first)):
                return False
            try:
                claim.next(seconds)
            except (NoAnswer, SessionOver):
                return False
        return True

    def end(self, reason: str) -> None:
        """End the session from any thread; what waits to be sent is dropped. The reader thread does the rest."""
        if not self.outbox.is_closed:
            self.reason = reason
        self.outbox.abort()
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            LOG.debug("%s was closed already", self.peer)

    @property
    def is_over(self) -> bool:
        """Whether the session has ended or is about to."""
        return self.outbox.is_closed

    # os-ken's interface.

    def send(self, buf: bytes, close_socket: bool = False) -> bool:
        """Queue a message; never blocks. With `close_socket` the connection ends once all is sent."""
        try:
            queued = self.outbox.put(bytes(buf))
        except Overflow as problem:
            self.end(str(problem))
            return False
        if close_socket:
            self.outbox.finish()
        return queued

    def set_xid(self, msg: Any) -> int:
        """Give a message the next xid; unlike os-ken's own counter this one may be used from many threads."""
        with self._lock:
            xid = next(self._xids) & 0xFFFFFFFF
        msg.set_xid(xid)
        return xid

    def set_state(self, state: str) -> None:
        """Change the state and tell os-ken's apps; what is dead stays dead."""
        if self.state != DEAD_DISPATCHER:
            super().set_state(state)
        if state == MAIN_DISPATCHER:
            self._on_through()

    def close(self) -> None:
        """End the session; os-ken's apps call this."""
        self.end("closed by the controller")

    def serve(self) -> None:
        """Run the session until it ends, in the caller's thread."""
        try:
            self.send_msg(self.ofproto_parser.OFPHello(self))
            self._transmit(self.outbox.take())
            self._read()
        except OSError as problem:
            self._give_up(problem.strerror or str(problem))
        except Exception:
            # A switch may send anything; it must never take more than its own connection down.
            LOG.exception("session with %s failed", self.peer)
            self.reason = "a message could not be handled"
        finally:
            self.is_active = False
            self.end(self.reason)
            with self._lock:
                for claim in self._claims:
                    claim.put(None)
            self.set_state(DEAD_DISPATCHER)
            if self._writer.ident is not None:
                self._writer.join(PERIOD_S)
            self.socket.close()

    # The reader thread.

    def _read(self) -> None:
        rest = b""
        strikes = 0
        while True:
            in_handshake = self.state != MAIN_DISPATCHER
            left = self._deadline - time.monotonic()
            if in_handshake and left <= 0:
                return self._give_up(f"no OpenFlow handshake within {HANDSHAKE_S:.0f} s")
            # The writer takes its patience from the same setting.
            self.socket.settimeout(min(PERIOD_S, left) if in_handshake else PERIOD_S)
            try:
                data = self.socket.recv(_CHUNK)
            except TimeoutError:
                strikes += 1
                if strikes > STRIKES:
                    return self._give_up(f"silent for {STRIKES * PERIOD_S:.0f} s")
                if not in_handshake:
                    self.send_msg(self.ofproto_parser.OFPEchoRequest(self))
                continue
            except OSError as problem:
                return self._give_up(problem.strerror or str(problem))
            if not data:
                return None
            strikes = 0
            broken, rest = self._take(rest + data)
            if broken:
                return self._give_up(broken)

    def _give_up(self, reason: str) -> None:
        if not self.is_over:
            self.reason = reason

    def _take(self, data: bytes) -> tuple[str | None, bytes]:
        """Hand on the whole frames in `data`; return what is wrong with it, if anything, and the rest."""
        at, end = 0, len(data)
        while end - at >= HEADER.size:
            version, kind, length, xid = HEADER.unpack_from(data, at)
            if length < HEADER.size or (self._is_greeted and version != self.ofproto.OFP_VERSION and kind > 1):
                return "what it sends is not OpenFlow", b""
            if not self._is_greeted and kind not in (MessageType.HELLO, MessageType.ERROR):
                return stranger(data), b""
            if end - at < length:
                break
            frame = data[at : at + length]
            at += length
            for claim in self._claims:
                if 0 <= xid - claim.first < claim.count:
                    claim.put(frame)
                    break
            else:
                if kind == MessageType.ERROR and self.on_error is not None:
                    self.on_error(self, frame)
                if kind == MessageType.PACKET_IN and self.on_packet is not None:
                    self.on_packet(self, frame)
                else:
                    self._dispatch(frame, version, kind, xid)
        return None, data[at:]

    def _dispatch(self, frame: bytes, version: int, kind: int, xid: int) -> None:
        """Decode a frame and pass it to os-ken's handlers and apps, as os-ken's own receive loop does."""
        if self._is_refused:
            return
        if self.state == HANDSHAKE_DISPATCHER and self._is_mismatch(frame, kind):
            return
        msg = ofproto_parser.msg(self, version, kind, len(frame), xid, bytearray(frame))
        if msg is None or self.ofp_brick is None:
            return
        event = ofp_event.ofp_msg_to_ev(msg)
        self.ofp_brick.send_event_to_observers(event, self.state)
        for handler in self.ofp_brick.get_handlers(event):
            if self.state in handler.callers[event.__class__].dispatchers:
                handler(event)

    def _is_mismatch(self, frame: bytes, kind: int) -> bool:
        """Check the hello, and refuse with a reason that helps what we cannot speak with."""
        if kind == MessageType.ERROR:
            self.end(f"it refused the handshake: {frame[12:].decode(errors='replace').strip(chr(0))}")
            return True
        self._is_greeted = True
        if self._writer.ident is None:
            self._writer.start()
        reason = complaint(frame, self.supported_ofp_version)
        if reason is None:
            return False
        self._is_refused = True
        self.reason = reason
        refusal = self.ofproto_parser.OFPErrorMsg(self, type_=0, code=0, data=reason.encode())
        self.send_msg(refusal, close_socket=True)
        return True

    # The writer thread.

    def _write(self) -> None:
        try:
            while batch := self.outbox.take():
                self._transmit(batch)
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as problem:
            self.end(problem.strerror or str(problem))

    def _transmit(self, batch: bytes) -> None:
        view = memoryview(batch)
        strikes = 0
        while view:
            try:
                sent = self.socket.send(view)
            except TimeoutError:
                strikes += 1
                if strikes == STRIKES:
                    raise TimeoutError(f"it took no byte for {STRIKES * PERIOD_S:.0f} s") from None
                continue
            strikes = 0
            view = view[sent:]
