"""The one module that changes how os-ken (4.2.2) behaves: four overrides, each with its reason, and the listener.

    hub.TaskExit                              so that one handler's exception does not end its app
    hub.spawn                                 so that the process can leave while a switch is connected
    controller.datapath_connection_factory    so that connections are `Session`s
    ofp_handler.OpenFlowController            so that the listener fails early and then lives

os-ken keeps the handshake, the decoding of rare messages and the routing of events.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import os_ken.base.app_manager
from os_ken import cfg
from os_ken.controller import controller, ofp_handler
from os_ken.lib import hub
from os_ken.ofproto import ofproto_common

from controller.switch.admission import Admission
from controller.switch.repeats import Repeats
from controller.switch.session import Session, handshake_deadline
from controller.switch.tls import BadCredentials, Channel, Credentials, Files, HandshakeFailed

LOG = logging.getLogger(__name__)

_BACKLOG = 512
_PAUSE_S = 0.1
# The kernel lacks something for a moment, or the peer left before we could look.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EINTR, errno.EPROTO}

_REPEATS = Repeats()


class AppStop(BaseException):
    """Never raised; takes the place of `Exception` as os-ken's "leave the event loop" signal."""


def apply_overrides() -> None:
    """Change os-ken as this module's head says; doing so again changes nothing."""
    # The native hub sets this to Exception, which the event loop re-raises and the thread swallows: the first
    # exception of a handler ends the app without a word. With a class that nobody raises, os-ken logs it and goes on.
    hub.TaskExit = AppStop
    # The native hub's threads are not daemons, so that interpreter exit waits for sockets that never close.
    hub.spawn = _spawn
    # os-ken's Datapath blocks senders and notices no dead peer (see `session`). It is looked up at listen time.
    controller.datapath_connection_factory = serve_connection
    # os-ken binds in a thread of its own, where a busy port is a log line, and its accept loop ends at the first error.
    ofp_handler.OpenFlowController = Listener


def _spawn(function: Callable[..., object], *args: Any, raise_error: bool = False, **options: Any) -> Any:
    thread = hub.HubThread(function, args, {"raise_error": raise_error, **options})
    thread.daemon = True
    thread.start()
    return thread


def serve_connection(
    sock: socket.socket,
    address: Any,
    credentials: Credentials | None = None,
    on_through: Callable[[], object] = lambda: None,
) -> None:
    """Serve one connection to its end, in the caller's thread.

    Args:
        sock: The connection; it is closed in the end.
        address: Where it comes from.
        credentials: What TLS is done with; without them there is none.
        on_through: Called when the handshake is over and the datapath id known.
    """
    deadline = handshake_deadline()
    try:
        if credentials is None:
            session = Session(sock, address, deadline=deadline, on_through=on_through)
        else:
            channel = Channel(sock, credentials.context(), deadline)
            session = Session(
                channel, address, deadline=deadline, certificate_names=channel.names, on_through=on_through
            )
    except HandshakeFailed as failure:
        sock.close()
        _tell(address, str(failure))
        return
    except OSError:
        # The peer may be gone before we look at it.
        sock.close()
        return
    session.serve()
    if session.id is None:
        _tell(address, session.reason)


def _tell(address: Any, reason: str) -> None:
    """Say why there is no session with somebody, once a minute for each reason."""
    if _REPEATS.is_news((address[0], reason)):
        LOG.warning("no session with %s:%d: %s", address[0], address[1], reason)


def credentials() -> Credentials | None:
    """Return what os-ken's options for TLS name, None where they name nothing; raise BadCredentials."""
    found = files()
    return None if found is None else Credentials(found, cfg.CONF.ciphers)


def files() -> Files | None:
    """Return the files that os-ken's options for TLS name, None where they name nothing; raise BadCredentials."""
    options = cfg.CONF
    named = {"--ctl-privkey": options.ctl_privkey, "--ctl-cert": options.ctl_cert, "--ca-certs": options.ca_certs}
    missing = [option for option, file in named.items() if not file]
    if len(missing) == len(named):
        return None
    if missing:
        # os-ken would serve plain text without one of the first two, and let any client in without the third.
        raise BadCredentials(f"TLS needs {', '.join(named)}; there is no {' and no '.join(missing)}")
    return Files(*map(Path, named.values()))


class Listener(controller.OpenFlowController):
    """os-ken's listener with its options, bound when it is made, so that a busy port is an error at start.

    Unlike os-ken it opens one port alone: not the old 6633 besides, and with TLS none without.
    """

    def __init__(self) -> None:
        options = cfg.CONF
        self._clients: dict[Any, Any] = {}
        self._closed = threading.Event()
        self.waiting = Admission()
        self.credentials = credentials()
        tcp, tls = options.ofp_tcp_listen_port, options.ofp_ssl_listen_port
        self.ofp_tcp_listen_port = ofproto_common.OFP_TCP_PORT if tcp is None else tcp
        self.ofp_ssl_listen_port = ofproto_common.OFP_SSL_PORT if tls is None else tls
        port = self.ofp_ssl_listen_port if self.credentials else self.ofp_tcp_listen_port
        self.socket = _bind(options.ofp_listen_host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Where switches connect to."""
        name = self.socket.getsockname()
        return name[0], name[1]

    def __call__(self) -> None:
        """Accept connections until closed; os-ken runs this in a thread."""
        for address in cfg.CONF.ofp_switch_address_list:
            self.spawn_client_loop(controller._split_addr(address))  # noqa: SLF001 - os-ken's own caller does the same.
        if self.credentials:
            LOG.info("TLS: a switch must show its host's certificate, of a CA in %s", cfg.CONF.ca_certs)
        LOG.info("listening for switches on %s:%d", *self.address)
        self.accept_from(self.socket)

    def close(self) -> None:
        """Accept no more connections."""
        self._closed.set()
        # A blocked accept() returns only when the listener is shut down, not when it is closed.
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as problem:
            LOG.debug("the listener was closed already: %s", problem)
        self.socket.close()

    def accept_from(self, listener: socket.socket) -> None:
        """Serve each connection in a thread of its own; outlive what a busy system throws."""
        while not self._closed.is_set():
            try:
                sock, address = listener.accept()
            except OSError as problem:
                if self._closed.is_set():
                    return
                if problem.errno not in _PASSING:
                    LOG.exception("the listener failed")
                    return
                if _REPEATS.is_news(problem.errno):
                    LOG.error("cannot accept switches for the moment: %s", problem.strerror)
                time.sleep(_PAUSE_S)
                continue
            self._welcome(sock, address)

    def _welcome(self, sock: socket.socket, address: Any) -> None:
        if self.waiting.enter(sock, address[0]) and _REPEATS.is_news(("flood", address[0])):
            LOG.warning("too many connections from %s tell no datapath id; the oldest are closed", address[0])
        try:
            hub.spawn(self._serve, sock, address)
        except RuntimeError as problem:
            LOG.error("no thread for %s: %s", address[0], problem)
            self.waiting.leave(sock)
            sock.close()

    def _serve(self, sock: socket.socket, address: Any) -> None:
        def leave() -> None:
            self.waiting.leave(sock)

        try:
            serve_connection(sock, address, self.credentials, on_through=leave)
        finally:
            leave()


def _bind(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        # Python appends what it was doing to the system's words; the address is said here, and once.
        why = (error.strerror or str(error)).partition(" (while ")[0]
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        raise OSError(f"cannot listen at {where}: {why}") from None


def stop_listening() -> None:
    """Close os-ken's listener, if there is one."""
    if (listener := _listener()) is not None:
        listener.close()


def renew_certificates() -> None:
    """Look at TLS's files now; every new connection does so, too, but then nobody may be watching the log."""
    listener = _listener()
    if listener is not None and listener.credentials is not None:
        listener.credentials.context()


def _listener() -> Listener | None:
    handler = os_ken.base.app_manager.lookup_service_brick("ofp_event")
    listener = getattr(handler, "controller", None)
    return listener if isinstance(listener, Listener) else None
