"""What a host's datapath says of itself: passes, upcalls, megaflows and their masks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.measure import usage
from controller.lab.lab import Lab

_VALUE = re.compile(r"=[^,()/]+")
_WHOLE = re.compile(r"\((?:0x)?[0-9a-f]+(?=[)/])")
_TRANSPORT = re.compile(r"\b(?:tcp|udp|sctp)\(")  # One field each for source and destination, whatever the protocol.
_FLAG = re.compile(r"[+-](?=[a-z])")


@dataclass(frozen=True, slots=True)
class Passes:
    """Packets since the counters were cleared, and what the datapath had to do for them."""

    received: int
    recirculated: int
    upcalls: int

    @property
    def each(self) -> float:
        """How often a packet went through the datapath."""
        return round((self.received + self.recirculated) / self.received, 2) if self.received else 0.0


class Datapath:
    """The userspace datapath of one host of a lab."""

    def __init__(self, lab: Lab, host: str) -> None:
        self._lab = lab
        self._host = host

    def forget(self) -> None:
        """Drop all megaflows and connections."""
        self._ask("revalidator/purge")
        self._ask("dpctl/flush-conntrack")

    def clear(self) -> None:
        """Count from nought."""
        self._ask("dpif-netdev/pmd-stats-clear")

    def passes(self) -> Passes:
        """Return what was counted since `clear`."""
        return read_passes(self._ask("dpif-netdev/pmd-stats-show"))

    def megaflows(self) -> list[str]:
        """Return what each megaflow matches."""
        return list(read_megaflows(self._ask("dpctl/dump-flows")))

    def cpu_s(self) -> float:
        """Return the CPU time that the daemon has used."""
        pid = (self._lab.switch(self._host).directory / "ovs-vswitchd.pid").read_text(encoding="ascii")
        return usage(int(pid)).cpu_s

    def _ask(self, *words: str) -> str:
        return self._lab.exec_host(self._host, ["ovs-appctl", *words], check=True).stdout


def read_passes(text: str) -> Passes:
    """Return the counters of all threads in what `dpif-netdev/pmd-stats-show` says."""

    def total(name: str) -> int:
        return sum(int(count) for count in re.findall(rf"^\s*{name}: (\d+)", text, re.MULTILINE))

    upcalls = total("miss with success upcall") + total("miss with failed upcall")
    return Passes(total("packets received"), total("packet recirculations"), upcalls)


def read_megaflows(text: str) -> Iterator[str]:
    """Yield what each megaflow matches, from what `dpctl/dump-flows` says."""
    for line in text.splitlines():
        matched, comma, _ = line.partition(", packets:")
        if comma:
            yield matched


def mask(megaflow: str) -> str:
    """Return which bits a megaflow looks at: a megaflow without its values.

    >>> mask("ct_state(-est+trk),recirc_id(0x3),in_port(9),eth_type(0x0800),ipv4(src=10.0.0.0/8,proto=6,frag=no),tcp(dst=64/0xffc0)")
    'ct_state(.est.trk),recirc_id(),in_port(),eth_type(),ipv4(src=/8,proto=,frag=),transport(dst=/0xffc0)'
    """
    return _TRANSPORT.sub("transport(", _VALUE.sub("=", _WHOLE.sub("(", _FLAG.sub(".", megaflow))))
