"""Network namespaces and processes: enter one, configure one, find and end what runs inside.

A thread enters a namespace with `inside`, does there what it must (a socket keeps its namespace after that; a child process
starts there) and is back home at the end of the block. That costs microseconds where `ip netns exec` costs a process.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.lab.plan import LabError

NAMESPACES = Path("/run/netns")

_NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET, linux/sched.h
_ETHTOOL = 0x8946  # SIOCETHTOOL, linux/sockios.h
_SET_TX_CHECKSUM = 0x17  # ETHTOOL_STXCSUM, linux/ethtool.h

_GET_FLAGS = 0x8913  # SIOCGIFFLAGS, linux/sockios.h
_PROMISCUOUS = 0x100  # IFF_PROMISC, linux/if.h
_POLL_SECONDS = 0.0005

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let the calling thread be in a namespace for the length of the block."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            there = os.open(NAMESPACES / namespace, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise LabError(f"the namespace {namespace} is gone") from None
        try:
            _enter(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, _NETWORK_NAMESPACE):
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


def exists(namespace: str) -> bool:
    """Return whether there is a namespace of this name."""
    return (NAMESPACES / namespace).exists()


def ip(lines: Iterable[str], *, forced: bool = False) -> None:
    """Run lines of `ip` in one process, in the calling thread's namespace; `forced` goes on after an error."""
    _batch("ip", lines, forced)


def bridge(lines: Iterable[str]) -> None:
    """Run lines of `bridge` in one process, in the calling thread's namespace."""
    _batch("bridge", lines, forced=False)


def _batch(program: str, lines: Iterable[str], forced: bool) -> None:
    text = "\n".join(lines)
    if not text:
        return
    command = [program, *(["-force"] if forced else []), "-batch", "-"]
    done = subprocess.run(command, input=text + "\n", capture_output=True, text=True, check=False)
    if done.returncode and not forced:
        # `ip` says "Command failed -:3": the line that it could not do is worth more than its number.
        said = done.stderr.strip()
        number = said.rpartition("-:")[2]
        line = text.splitlines()[int(number) - 1] if number.isdecimal() else "-batch"
        raise LabError(f"{program} {line}: {said.splitlines()[0] if said else 'failed'}")


def set_kernel(values: Mapping[str, str | int]) -> None:
    """Write settings below /proc/sys/net of the calling thread's namespace; one that the kernel lacks is passed over."""
    for name, value in values.items():
        with contextlib.suppress(FileNotFoundError):
            Path("/proc/sys/net", name).write_text(str(value), encoding="ascii")


def fill_in_checksums(interface: str) -> None:
    """Let the kernel compute checksums of what leaves an interface of the calling thread's namespace.

    A veth leaves them to hardware that never comes; the userspace datapath would forward the packets as they are.
    """
    request = ctypes.create_string_buffer(struct.pack("=II", _SET_TX_CHECKSUM, 0))
    frame = struct.pack("16sP16x", interface.encode(), ctypes.addressof(request))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:
        fcntl.ioctl(anything, _ETHTOOL, frame)


def await_promiscuous(namespace: str, interface: str, is_over: Callable[[], bool]) -> None:
    """Wait until somebody has opened an interface of a namespace to bridge it, or until `is_over` says that nobody will."""
    with inside(namespace):
        anything = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with anything:
        while not is_over():
            found = fcntl.ioctl(anything, _GET_FLAGS, struct.pack("16sH14x", interface.encode(), 0))
            if struct.unpack("16xH14x", found)[0] & _PROMISCUOUS:
                return
            time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be mistaken for a later one with its number: `start` is in clock ticks since boot."""

    pid: int
    start: int
    what: str

    @staticmethod
    def of(pid: int, what: str) -> Process:
        """Return the running process with this number."""
        start = _start(pid)
        if start is None:
            raise LabError(f"{what} has ended at once")
        return Process(pid, start, what)

    @property
    def is_alive(self) -> bool:
        """Whether this very process runs."""
        return _start(self.pid) == self.start


def _start(pid: int) -> int | None:
    """Return when a process started, None if it runs no more; a zombie does not run."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def processes_in(namespaces: Iterable[str]) -> list[Process]:
    """Return every process that is in one of the namespaces, whoever started it."""
    wanted = set()
    for namespace in namespaces:
        with contextlib.suppress(FileNotFoundError):
            wanted.add((NAMESPACES / namespace).stat().st_ino)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError, LabError):
                if (entry / "ns/net").stat().st_ino in wanted:
                    found.append(Process.of(int(entry.name), "in a namespace"))
    return found


def end(processes: Iterable[Process], patience: float = 3.0) -> None:
    """Ask processes to leave, all at once, and force those that have not left after `patience` seconds."""
    open_ones: dict[int, Process] = {}
    try:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process.pid)
                open_ones[descriptor] = process
                # The descriptor holds on to the process it was opened for: compare first, then signal.
                if process.is_alive and process.pid != os.getpid():
                    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
                else:
                    os.close(descriptor)
                    del open_ones[descriptor]
        for descriptor in _left(open_ones, patience):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _left(open_ones, patience)
    finally:
        for descriptor in open_ones:
            os.close(descriptor)


def kill(processes: Iterable[Process]) -> None:
    """End processes as a power failure does: at once, and without a word to anybody."""
    open_ones: dict[int, Process] = {}
    try:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process.pid)
                open_ones[descriptor] = process
                if process.is_alive:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        _left(open_ones, 3.0)
    finally:
        for descriptor in open_ones:
            os.close(descriptor)


def _left(descriptors: Iterable[int], patience: float) -> set[int]:
    """Wait until the processes have ended; return those that have not in time."""
    left = set(descriptors)
    deadline = time.monotonic() + patience
    poll = select.poll()
    for descriptor in left:
        poll.register(descriptor, select.POLLIN)
    while left:
        for descriptor, _ in poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            left.discard(descriptor)
            poll.unregister(descriptor)
        if time.monotonic() >= deadline:
            break
    return left
