"""Certificates for tests, switches that show them, and clients that do half of what they should."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path
from unittest import mock

from controller import pki
from controller.switch.fake import FakeSwitch


def make(directory: Path, *hosts: str, force: bool = False, days: int = 30) -> Path:
    """Make certificates for a controller and hosts; return their folder. With days below 0 they have expired already."""
    if days > 0:
        pki.issue(directory, ["controller", *hosts], days=days, force=force)
        return directory
    pki.issue(directory, [], days=1, force=False)
    past = dt.timedelta(days=2 - days)
    real = pki._from_now
    with mock.patch.object(pki, "_from_now", lambda after: real(after) - past):
        pki.issue(directory, ["controller", *hosts], days=1, force=force)
    return directory


def ssl_command(folder: Path) -> list[str]:
    """The ovs-vsctl command that gives Open vSwitch the certificate in a folder."""
    return ["set-ssl", f"{folder}/key.pem", f"{folder}/cert.pem", f"{folder}/ca.pem"]


def client_context(folder: Path | None) -> ssl.SSLContext:
    """What a switch with the files of this folder speaks TLS with; None for one that has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if folder is None:
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        context.load_verify_locations(folder / "ca.pem")
    return context


def dial(address: tuple[str, int], folder: Path | None) -> ssl.SSLSocket:
    """Connect with TLS; the end without notice is an error."""
    raw = socket.create_connection(address, timeout=20)
    return client_context(folder).wrap_socket(raw, suppress_ragged_eofs=False)


class TlsFakeSwitch(FakeSwitch):
    """A fake switch with a certificate. Only its own thread sends, so its connection is used by one thread at a time."""

    def __init__(self, address: tuple[str, int], dpid: int, folder: Path) -> None:
        super().__init__(address, dpid)
        self._folder = folder

    def connect(self) -> None:
        self.close()
        self.gone = threading.Event()
        self._staged.clear()
        channel = dial(self.address, self._folder)
        channel.settimeout(None)
        channel.sendall(self.hello)
        self._socket = channel
        threading.Thread(target=self._serve, args=(channel, self.gone), name="fake switch", daemon=True).start()
