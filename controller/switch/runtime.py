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
from collections import Counter
from collections.abc import Callable
from typing import Any

import os_ken.base.app_manager
from os_ken import cfg
from os_ken.controller import controller, ofp_handler
from os_ken.lib import hub
from os_ken.ofproto import ofproto_common

from controller.switch.repeats import Repeats
from controller.switch.session import Session

LOG = logging.getLogger(__name__)

_BACKLOG = 512
_CONNECTIONS_PER_HOST = 1024  # More than any machine has bridges; a flood from one stops here.
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


def serve_connection(sock: socket.socket, address: Any) -> None:
    """Serve one accepted connection to its end, in the caller's thread."""
    try:
        session = Session(sock, address)
    except OSError:
        # The peer may be gone before we look at it.
        sock.close()
        return
    session.serve()
    if session.id is None and _REPEATS.is_news((address[0], session.reason)):
        LOG.warning("no session with %s: %s", session.peer, session.reason)


class Listener(controller.OpenFlowController):
    """os-ken's listener with its options, bound when it is made, so that a busy port is an error at start.

    Unlike os-ken it opens one port alone when none is named, not the old 6633 besides.
    """

    def __init__(self) -> None:
        options = cfg.CONF
        self._clients: dict[Any, Any] = {}
        self._connections: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self.has_tls = options.ctl_privkey is not None and options.ctl_cert is not None
        port = options.ofp_tcp_listen_port
        self.ofp_tcp_listen_port = ofproto_common.OFP_TCP_PORT if port is None else port
        self.ofp_ssl_listen_port = options.ofp_ssl_listen_port or ofproto_common.OFP_SSL_PORT
        self.socket = None if self.has_tls else _bind(options.ofp_listen_host, self.ofp_tcp_listen_port)

    @property
    def address(self) -> tuple[str, int]:
        """Where switches connect to."""
        if self.socket is None:
            return cfg.CONF.ofp_listen_host, self.ofp_ssl_listen_port
        name = self.socket.getsockname()
        return name[0], name[1]

    def __call__(self) -> None:
        """Accept connections until closed; os-ken runs this in a thread."""
        for address in cfg.CONF.ofp_switch_address_list:
            self.spawn_client_loop(controller._split_addr(address))  # noqa: SLF001 - os-ken's own caller does the same.
        if self.socket is None:
            self.server_loop(self.ofp_tcp_listen_port, self.ofp_ssl_listen_port)
        else:
            LOG.info("listening for switches on %s:%d", *self.address)
            self.accept_from(self.socket)

    def close(self) -> None:
        """Accept no more connections."""
        self._closed.set()
        if self.socket is not None:
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
        host = address[0]
        with self._lock:
            self._connections[host] += 1
            is_too_many = self._connections[host] > _CONNECTIONS_PER_HOST
        if is_too_many and _REPEATS.is_news(host):
            LOG.warning("%s has more than %d connections", host, _CONNECTIONS_PER_HOST)
        if not is_too_many:
            try:
                hub.spawn(self._serve, sock, address)
                return
            except RuntimeError as problem:
                LOG.error("no thread for %s: %s", host, problem)
        sock.close()
        self._settled(host)

    def _serve(self, sock: socket.socket, address: Any) -> None:
        try:
            serve_connection(sock, address)
        finally:
            self._settled(address[0])

    def _settled(self, host: str) -> None:
        with self._lock:
            self._connections[host] -= 1
            if not self._connections[host]:
                del self._connections[host]


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
    handler = os_ken.base.app_manager.lookup_service_brick("ofp_event")
    listener = getattr(handler, "controller", None)
    if isinstance(listener, Listener):
        listener.close()
