"""Joining a namespace to the interface of another one by a VLAN tag, with or without the kernel's VLAN devices."""

from __future__ import annotations

import subprocess
import sys

from controller.lab import tagging
from controller.lab.namespaces import NAMESPACES, inside
from controller.lab.plan import LabError


def tag_on(namespace: str, trunk: str, vlan: int) -> None:
    """Give a namespace an `eth0` whose frames have a tag on that of another, by a process that ends with the namespace."""
    command = [sys.executable, "-S", "-E", tagging.__file__, str(NAMESPACES / trunk), str(vlan)]
    with inside(namespace):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{namespace}: {done.stderr.strip().rpartition(chr(10))[2]}")
