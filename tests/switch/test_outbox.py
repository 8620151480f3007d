"""What waits for one switch: bytes leave whole and in order, whoever sends them."""

from __future__ import annotations

import threading

from controller.switch.outbox import Outbox


def test_who_finds_nothing_waiting_sends_by_himself() -> None:
    outbox = Outbox()
    sent: list[bytes] = []

    def send(data: bytes) -> int:
        sent.append(data)
        return len(data)

    assert outbox.put_through(b"hello", send)
    assert sent == [b"hello"]


def test_what_a_socket_does_not_take_at_once_is_left_to_the_taker() -> None:
    outbox = Outbox()
    assert outbox.put_through(b"hello", lambda _data: 2)
    assert outbox.take() == b"llo"


def test_nobody_passes_what_waits_or_is_being_sent() -> None:
    outbox = Outbox()
    outbox.put(b"first")
    assert not outbox.put_through(b"second", len)
    assert outbox.take() == b"first"
    assert not outbox.put_through(b"second", len)


def test_what_is_put_while_somebody_sends_comes_after_it() -> None:
    outbox = Outbox()

    def slow(data: bytes) -> int:
        outbox.put(b"later")
        assert not outbox.put_through(b"pushing in", len)
        return len(data) - 1

    assert outbox.put_through(b"now", slow)
    assert outbox.take() == b"wlater"


def test_many_senders_and_a_slow_socket_lose_and_mix_nothing() -> None:
    outbox, arrived, lock = Outbox(), bytearray(), threading.Lock()

    def take_some(data: bytes) -> int:
        with lock:
            arrived.extend(data[:7])
        return min(len(data), 7)

    def work(name: int) -> None:
        for number in range(200):
            message = f"<{name}:{number}>".encode()
            if not outbox.put_through(message, take_some):
                outbox.put_when_room(message)

    def drain() -> None:
        while batch := outbox.take():
            with lock:
                arrived.extend(batch)

    writer = threading.Thread(target=drain)
    writer.start()
    senders = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    outbox.finish()
    writer.join()
    found = arrived.decode().strip("<>").split("><")
    for name in range(4):
        assert [each for each in found if each.startswith(f"{name}:")] == [f"{name}:{number}" for number in range(200)]


def test_a_closed_outbox_takes_nothing() -> None:
    outbox = Outbox()
    outbox.abort()
    assert not outbox.put_through(b"x", len)
    assert not outbox.put(b"x")
    assert outbox.take() == b""
