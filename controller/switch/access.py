"""A host's Open vSwitch and those it talks to: its certificates, and who may read its database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from controller.switch.tls import Files

Command = tuple[str, ...]

MARK = "weft"  # The key of external_ids on what we made; its value is the host.

# What the database may listen at. Without TLS whoever reaches it may change the switch, so the address has to be said.
OVSDB_TARGET = re.compile(r"pssl:\d+(:\S+)?|ptcp:\d+:\S+")


class HostError(Exception):
    """The host cannot be set up; the message says what is in the way."""


class NoCertificates(HostError):
    """TLS is asked for, and there is no certificate to do it with."""


def ssl_commands(there: Mapping[str, Any] | None, tls: Files | None, host: str) -> Iterator[Command]:
    """Yield what gives the Open vSwitch with this row of its SSL table the certificate of its host.

    There is one certificate for all that Open vSwitch does, so one that somebody else has set is not replaced.
    """
    if tls is None:
        return
    wanted = {"private_key": str(tls.key), "certificate": str(tls.certificate), "ca_cert": str(tls.ca)}
    if there is not None:
        if all(there[column] == file for column, file in wanted.items()):
            return
        if MARK not in there["external_ids"]:
            raise HostError(
                f"this Open vSwitch has the certificate {there['certificate']}, which is not Weft's:"
                " use it by leaving out --pki and --tls-..., or take it away with `ovs-vsctl del-ssl`"
            )
    yield "set-ssl", *wanted.values()
    yield "set", "ssl", ".", f"external_ids:{MARK}={host}"


def require_certificate(there: Mapping[str, Any] | None, tls: Files | None, targets: Iterable[str | None]) -> None:
    """Refuse targets that need TLS where there are no certificates, old or new; raise NoCertificates."""
    for target in targets:
        if target is not None and target.startswith(("ssl:", "pssl:")) and there is None and tls is None:
            raise NoCertificates(f"{target} needs a certificate: say --pki DIR, or --tls-key, --tls-cert and --tls-ca")


def manager_commands(there: Iterable[Mapping[str, Any]], target: str | None, host: str) -> Iterator[Command]:
    """Yield what lets the database listen at `target`; other listeners stay, but for one that Weft has set before."""
    if target is None:
        return
    is_there = False
    for row in there:
        if row["target"] == target:
            is_there = True
        elif MARK in row["external_ids"]:
            yield "remove", "open_vswitch", ".", "manager_options", row["_uuid"]
    if not is_there:
        settings = f"target={json.dumps(target)}", f"external_ids:{MARK}={host}"
        yield "--id=@manager", "create", "manager", *settings
        yield "add", "open_vswitch", ".", "manager_options", "@manager"
