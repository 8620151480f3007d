"""One TLS connection between two threads here and one peer: bytes arrive whole and in order, whatever the network does."""

from __future__ import annotations

import contextlib
import hashlib
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.switch.tls import Channel, Files, HandshakeFailed, server_context
from tests.switch.certificates import client_context, make

MUCH = b"".join(hashlib.sha256(bytes([number % 251, number // 251])).digest() * 32 for number in range(8192))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("pki"), "hv1")


@pytest.fixture
def wire() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends with small buffers, so that little fits in at once."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    with near, far:
        yield near, far


@pytest.fixture
def ends(pki: Path, wire: tuple[socket.socket, socket.socket]) -> Iterator[tuple[Channel, ssl.SSLSocket]]:
    """The controller's end and the switch's, through their handshake."""
    own = pki / "controller"
    context = server_context(Files(own / "key.pem", own / "cert.pem", own / "ca.pem"))
    dialled: list[ssl.SSLSocket] = []
    peer = threading.Thread(
        target=lambda: dialled.append(client_context(pki / "hosts/hv1").wrap_socket(wire[1])), daemon=True
    )
    peer.start()
    channel = Channel(wire[0], context, time.monotonic() + 20)
    peer.join()
    with dialled[0]:
        yield channel, dialled[0]


def send_all(channel: Channel, data: bytes, waited: Callable[[int], object] = lambda _waits: None) -> int:
    """Send as a session does; tell and return how often it had to wait."""
    view, waits = memoryview(data), 0
    while view:
        try:
            view = view[channel.send(view) :]
        except TimeoutError:
            waits += 1
            waited(waits)
    return waits


def receive(channel: Channel, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        try:
            data = channel.recv(1 << 18)
        except TimeoutError:
            continue
        assert data, "it ended early"
        got += data
    return bytes(got)


def echo(peer: ssl.SSLSocket, count: int) -> None:
    """Send back what comes, in one thread, a little at a time."""
    peer.setblocking(False)
    waiting = bytearray()
    left = count
    while left or waiting:
        select.select([peer] if left else [], [peer] if waiting else [], [], 1)
        with contextlib.suppress(ssl.SSLWantReadError):
            if left and (data := peer.recv(16384)):
                waiting += data
                left -= len(data)
        with contextlib.suppress(ssl.SSLWantWriteError):
            del waiting[: peer.send(waiting[:16384]) if waiting else 0]


def test_both_directions_are_full_at_once(ends: tuple[Channel, ssl.SSLSocket]) -> None:
    channel, peer = ends
    channel.settimeout(0.001)
    answering = threading.Thread(target=echo, args=(peer, len(MUCH)), daemon=True)
    sending = threading.Thread(target=send_all, args=(channel, MUCH), daemon=True)
    answering.start()
    sending.start()
    assert receive(channel, len(MUCH)) == MUCH
    sending.join()
    answering.join()


def test_a_peer_that_reads_nothing_is_a_timeout_and_nothing_is_lost(ends: tuple[Channel, ssl.SSLSocket]) -> None:
    channel, peer = ends
    channel.settimeout(0.01)
    stuck = threading.Event()
    got: list[bytes] = []

    def read_late() -> None:
        stuck.wait(20)
        got.append(b"".join(iter(lambda: peer.recv(65536), b"")))

    reading = threading.Thread(target=read_late, daemon=True)
    reading.start()

    def waited(times: int) -> None:
        if times == 3:
            stuck.set()

    assert send_all(channel, MUCH, waited) >= 3
    channel.shutdown(socket.SHUT_WR)
    reading.join()
    assert got == [MUCH]


def test_a_handshake_that_is_not_over_in_time_fails(pki: Path, wire: tuple[socket.socket, socket.socket]) -> None:
    own = pki / "controller"
    context = server_context(Files(own / "key.pem", own / "cert.pem", own / "ca.pem"))
    with pytest.raises(HandshakeFailed, match="no TLS handshake in time"):
        Channel(wire[0], context, time.monotonic() + 0.05)


def test_ending_never_waits_for_a_peer_that_reads_nothing(ends: tuple[Channel, ssl.SSLSocket]) -> None:
    channel, _ = ends
    channel.settimeout(20)
    sending = threading.Thread(target=send_until_it_ends, args=(channel,), daemon=True)
    sending.start()
    while not channel._turn.locked():
        assert sending.is_alive()
    channel.shutdown(socket.SHUT_RDWR)
    sending.join(10)
    assert not sending.is_alive()
    assert channel.recv(100) == b""


def send_until_it_ends(channel: Channel) -> None:
    with contextlib.suppress(OSError):
        while True:
            send_all(channel, MUCH)
