"""Threads of a daemon that stand still while the rest of it goes on: a switch whose datapath does not follow its flows for a while."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from controller.lab.namespaces import Process

_SEIZE, _INTERRUPT, _DETACH = 0x4206, 0x4207, 17  # PTRACE_SEIZE, PTRACE_INTERRUPT and PTRACE_DETACH, linux/ptrace.h
_WALL = 0x40000000  # __WALL, linux/wait.h: wait for threads as well.


@contextmanager
def still(process: Process, name: str) -> Iterator[None]:
    """Let the threads with this name, with a number behind it, do nothing while the block lasts."""
    found = [
        each for each in Path(f"/proc/{process.pid}/task").iterdir() if _name_of(each).rstrip("0123456789") == name
    ]
    assert found, f"{process} has no {name}"
    with ExitStack() as stopped:
        for each in found:
            stopped.enter_context(_still(int(each.name)))
        yield


def _name_of(thread: Path) -> str:
    return (thread / "comm").read_text(encoding="ascii").strip()


@contextmanager
def _still(thread: int) -> Iterator[None]:
    _ptrace(_SEIZE, thread)
    try:
        _ptrace(_INTERRUPT, thread)
        os.waitpid(thread, _WALL)
        yield
    finally:
        _ptrace(_DETACH, thread)


def _ptrace(request: int, thread: int) -> None:
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.restype, call.argtypes = ctypes.c_long, [ctypes.c_long] * 4
    if call(request, thread, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
