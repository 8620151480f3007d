"""TLS to switches: mutual, never below 1.2, with certificates that can be replaced while the controller runs.

`Channel` stands in a socket's place for one thread that reads and another that writes. OpenSSL's state of a connection must
not be used by two threads at once, so it works on memory here, under a lock, and the network is waited for outside of it:

    recv    network ──► incoming ──► [lock: decrypt] ──► bytes
    send    bytes ──► [lock: encrypt] ──► outgoing ──► network

So a switch that sends while it is sent to never waits for itself. What OpenSSL wants to say of its own while reading (an answer
to a change of keys) stays in `outgoing` and goes out with the next send, as TLS 1.3 allows (RFC 8446, section 4.6.3).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)

_RECORD = 16 * 1024  # The most that one record of TLS carries (RFC 8446, section 5.1).
_CHUNK = 256 * 1024

# `ovs-pki` writes "NAME id:UUID", as the common name and as what it calls a DNS name.
_OF_OVS_PKI = re.compile(r" id:[0-9a-f-]{36}$")

# What OpenSSL finds where the first bytes are those of another protocol.
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "BAD_PROTOCOL_VERSION_NUMBER"}
_IN_WORDS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it shows no certificate",
    "UNSUPPORTED_PROTOCOL": "it offers neither TLS 1.2 nor 1.3",
    "KEY_VALUES_MISMATCH": "the key does not belong to the certificate",
}


class BadCredentials(Exception):
    """A key, a certificate or a CA cannot be used; the message says which and why."""


class HandshakeFailed(Exception):
    """There is no TLS with this peer; the message says why."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the own private key, its certificate (with intermediate ones) and the peers' CA are; all in PEM."""

    key: Path
    certificate: Path
    ca: Path


def server_context(files: Files, ciphers: str | None = None) -> ssl.SSLContext:
    """Return a context that asks every client for a certificate of the CA.

    A list of revoked certificates in the CA's file is obeyed. Raises `BadCredentials`.
    """
    for path in astuple(files):
        try:
            path.read_bytes()
        except OSError as problem:
            raise BadCredentials(f"{path}: {problem.strerror}") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would be let in by the certificate of another day.
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
    context.num_tickets = 0
    try:
        context.load_cert_chain(files.certificate, files.key, password=_no_password)
    except (ssl.SSLError, ValueError) as problem:
        raise BadCredentials(f"{files.certificate} and {files.key}: {in_words(problem)}") from None
    try:
        context.load_verify_locations(files.ca)
    except ssl.SSLError as problem:
        raise BadCredentials(f"{files.ca}: {in_words(problem)}") from None
    if context.cert_store_stats()["crl"]:
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if ciphers is not None:
        try:
            context.set_ciphers(ciphers)
        except ssl.SSLError:
            raise BadCredentials(f'no cipher of TLS 1.2 is meant by "{ciphers}"') from None
    return context


def _no_password() -> str:
    raise ValueError("the private key is encrypted; the controller needs it in the clear")


class Credentials:
    """The controller's files, read again when they have changed. May be used from any thread."""

    def __init__(self, files: Files, ciphers: str | None = None) -> None:
        self._files = files
        self._ciphers = ciphers
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._context = server_context(files, ciphers)

    def context(self) -> ssl.SSLContext:
        """Return the context for a new connection; that of files that can no longer be used is replaced by nothing worse."""
        with self._lock:
            stamp = self._look()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._context = server_context(self._files, self._ciphers)
                except BadCredentials as problem:
                    LOG.error("TLS goes on with the former files: %s", problem)
                else:
                    LOG.info("TLS: new connections use the new %s", self._files.certificate)
            return self._context

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Return what differs once any of the files has been replaced or written."""
        return tuple(map(_stamp_of, astuple(self._files)))


def _stamp_of(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


class Channel:
    """A TLS connection for one reader and one writer, with the methods of a socket that a session uses.

    `names` are those of the peer's certificate. Closing it is `shutdown` from any thread, then `close`.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, deadline: float) -> None:
        """Do the handshake in the caller's thread, until `deadline` (of `time.monotonic`); raise HandshakeFailed."""
        self._raw = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._lock = threading.Lock()  # Of OpenSSL's state; nobody waits for the network with it.
        self._turn = threading.Lock()  # Of the way out; records must leave in the order in which they were made.
        self._unsent = memoryview(b"")
        self._taken = 0
        try:
            self._shake_hands(deadline)
        except TimeoutError:
            raise HandshakeFailed("no TLS handshake in time") from None
        except OSError as problem:
            # The last words of a failed handshake tell the peer why.
            with contextlib.suppress(OSError):
                sock.sendall(self._outgoing.read())
            raise HandshakeFailed(in_words(problem)) from None
        self.names = names_of(self._tls.getpeercert() or {})

    def _shake_hands(self, deadline: float) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                is_done = False
            else:
                is_done = True
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._raw.settimeout(left)
            self._raw.sendall(self._outgoing.read())
            if is_done:
                return
            data = self._raw.recv(_CHUNK)
            if not data:
                raise ConnectionResetError(errno.ECONNRESET, "it left during the TLS handshake")
            self._incoming.write(data)

    def recv(self, size: int) -> bytes:
        """Return some bytes, nothing at the end; waits as long as `settimeout` allows."""
        while True:
            with self._lock:
                data = self._decrypt(size)
            if data is not None:
                return data
            arrived = self._raw.recv(_CHUNK)
            if not arrived:
                return b""
            with self._lock:
                self._incoming.write(arrived)

    def _decrypt(self, size: int) -> bytes | None:
        """Return what has arrived whole, None if that is nothing."""
        parts: list[bytes] = []
        try:
            while size > 0 and (part := self._tls.read(min(size, _RECORD))):
                parts.append(part)
                size -= len(part)
        except ssl.SSLWantReadError:
            return b"".join(parts) or None
        except ssl.SSLZeroReturnError:
            return b"".join(parts)
        except ssl.SSLError as problem:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"TLS failed: {in_words(problem)}") from None
        return b"".join(parts)

    def send(self, data: bytes | memoryview) -> int:
        """Send the beginning of `data` and return its length; after a TimeoutError call again with the same data."""
        with self._turn:
            if not self._unsent:
                with self._lock:
                    try:
                        self._taken = self._tls.write(data[:_CHUNK])
                    except ssl.SSLError as problem:
                        raise ConnectionAbortedError(errno.ECONNABORTED, f"TLS failed: {in_words(problem)}") from None
                    self._unsent = memoryview(self._outgoing.read())
            while self._unsent:
                self._unsent = self._unsent[self._raw.send(self._unsent) :]
            return self._taken

    def shutdown(self, how: int) -> None:
        """End the connection for reading, writing or both, with TLS's notice of it if the way out is free; never waits."""
        if how != socket.SHUT_RD and self._turn.acquire(blocking=False):
            try:
                self._take_leave()
            finally:
                self._turn.release()
        self._raw.shutdown(how)

    def _take_leave(self) -> None:
        if self._unsent:
            return  # In the middle of a record a notice would be noise.
        with self._lock:
            # The peer's own notice is not waited for, which OpenSSL reports as an error.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
            notice = self._outgoing.read()
        # A socket with a timeout does not block underneath; its own send() would wait for room.
        with contextlib.suppress(OSError):
            os.write(self._raw.fileno(), notice)

    def settimeout(self, seconds: float | None) -> None:
        """Bound what `recv` and `send` wait for, in seconds."""
        self._raw.settimeout(seconds)

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """Set an option of the TCP connection."""
        self._raw.setsockopt(level, name, value)

    def close(self) -> None:
        """Give the descriptor back."""
        self._raw.close()


def names_in(files: Files) -> frozenset[str]:
    """Return the names in the own certificate, as those at the other end will read them.

    It is shown to oneself, so that a key of another certificate and one that has expired come out, too. Raises
    `BadCredentials`.
    """
    host = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    host.check_hostname, host.verify_mode = False, ssl.CERT_NONE
    controller = server_context(files)
    host.load_cert_chain(files.certificate, files.key)
    controller.load_verify_locations(files.certificate)
    controller.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = host.wrap_bio(back, there)
    other = controller.wrap_bio(there, back, server_side=True)
    try:
        for end in (one, other) * 3:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    except ssl.SSLError as problem:
        raise BadCredentials(f"{files.certificate}: {in_words(problem)}") from None
    return names_of(other.getpeercert() or {})


def names_of(certificate: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of a certificate, as `ssl` decodes it: its DNS names, or, without any, its common name.

    The id at the end of a name that `ovs-pki` made is left out.

    >>> sorted(names_of({"subject": ((("commonName", "hv1 id:8d8f5a3c-63b0-4e52-9f0a-0d1e6a5b7c11"),),)}))
    ['hv1']
    >>> sorted(names_of({"subject": ((("commonName", "hv1"),),), "subjectAltName": (("DNS", "HV2"), ("IP", "192.0.2.1"))}))
    ['hv2']
    """
    found = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    if not found:
        subject = (pair for group in certificate.get("subject", ()) for pair in group)
        found = {value for key, value in subject if key == "commonName"}
    return frozenset(_OF_OVS_PKI.sub("", name).lower() for name in found)


def in_words(problem: Exception) -> str:
    """Return what went wrong with TLS as a reader of a log wants it."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {problem.verify_message}"
    if isinstance(problem, ssl.SSLError):
        if problem.reason in _NOT_TLS:
            return "what it sends is not TLS; `ovs-vsctl get-controller br-int` on its host must say ssl:ADDRESS:PORT"
        reason = problem.reason or "not a file in PEM format"
        return _IN_WORDS.get(reason, reason.lower().replace("_", " "))
    return getattr(problem, "strerror", None) or str(problem)
