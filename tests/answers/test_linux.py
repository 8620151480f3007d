"""Linux as the sender: its sockets report what a router says of their packets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORDS = {
    "4": {"no route": "ENETUNREACH", "no host": "EHOSTUNREACH", "expired": "EHOSTUNREACH"},
    "6": {"no route": "ENETUNREACH", "no host": "EHOSTUNREACH", "expired": "EHOSTUNREACH"},
}
BOTH = {"too big": "EMSGSIZE 1280", "no port": "ECONNREFUSED", "no listener": "ECONNREFUSED"}


@pytest.mark.lab
def test_linux_understands_every_answer() -> None:
    command = ["unshare", "--net", sys.executable, "-m", "tests.answers.linux_sender"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {version: {**words, **BOTH} for version, words in WORDS.items()}
