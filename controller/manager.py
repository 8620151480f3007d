"""The `osken-manager` command, which os-ken ships no more since 4.0, and the entry of `weft run`.

    osken-manager [OPTION...] MODULE...        e.g. osken-manager controller.app --topology topologies/quickstart

Options, configuration file and log set-up are those of os-ken 3.1's manager, and any os-ken app is loaded by its
module's name. Other than there: the files are checked before a port is opened; SIGTERM and SIGINT leave within 2 s with exit
code 0 and the flows in place; SIGHUP reloads the files and looks at the certificates; the pid file is removed; systemd is
told when the controller is ready; one listener alone is opened, on 6653 unless told otherwise, and with TLS that one alone
speaks it, to those who have a certificate of the CA.

Exit codes: 0 told to leave, 2 bad input, 3 network trouble.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import queue
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import os_ken
import os_ken.log
from os_ken import cfg
from os_ken.base.app_manager import AppManager
from os_ken.utils import _import_module_file

from controller.switch import runtime
from controller.switch.options import CONF
from controller.switch.tls import BadCredentials

LOG = logging.getLogger(__name__)

OUR_APP = "controller.app"

_CONFIG_FILE = "/usr/local/etc/os_ken/os_ken.conf"
_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_LEAVE_S = 1.0
_TURN_S = 0.001  # A thread that compares a large dump gives way to one that has a change after so long, not after 5 ms.
_BAD_INPUT, _TROUBLE = 2, 3
_LAST_PORT = 65535


def main(args: Sequence[str] | None = None) -> int:
    """Run `osken-manager` with these arguments, those of the process by default, and return its exit code."""
    arguments = list(sys.argv[1:] if args is None else args)
    _load_user_flags(arguments)
    try:
        _parse(arguments)
    except cfg.ConfigFilesNotFoundError as problem:
        print(f"osken-manager: {problem}", file=sys.stderr)
        return _BAD_INPUT
    try:
        os_ken.log.init_log()
        _improve_log()
        return _serve([*CONF.app_lists, *CONF.app])
    except OSError as error:
        return _trouble(error)


def run(
    topology: Path,
    listen_host: str,
    listen_port: int,
    control: Path | None,
    verbose: bool,
    tls: tuple[Path, Path, Path] | None = None,
    connection_log: Path | None = None,
) -> int:
    """Run the controller for a topology with Weft's own defaults, as `weft run` does, and return its exit code.

    `tls` are the private key, its certificate and the CA of the switches; `connection_log` is where
    what is to be logged of connections goes.
    """
    options = ["--topology", str(topology), "--ofp-listen-host", listen_host]
    if tls is None:
        options += ["--ofp-tcp-listen-port", str(listen_port)]
    else:
        options += ["--ofp-ssl-listen-port", str(listen_port)]
        for option, file in zip(("--ctl-privkey", "--ctl-cert", "--ca-certs"), tls, strict=True):
            options += [option, str(file)]
    if control is not None:
        options += ["--control", str(control)]
    if connection_log is not None:
        options += ["--connection-log", str(connection_log)]
    if verbose:
        options.append("--verbose")
    return main([*options, OUR_APP])


def _trouble(error: OSError) -> int:
    """Say which file cannot be written, or which address or socket cannot be opened."""
    said = f"{error.filename}: {error.strerror}" if error.filename else error
    print(f"osken-manager: {said}", file=sys.stderr)
    return _TROUBLE


def _load_user_flags(arguments: Sequence[str]) -> None:
    """Run the file of `--user-flags` before anything is parsed: it registers the options of the user's own apps."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--user-flags":
            path = value if equals else "".join(arguments[place + 1 : place + 2])
            if Path(path).is_file():
                _import_module_file(path)


def _parse(arguments: Sequence[str]) -> None:
    version = f"osken-manager {os_ken.__version__}"
    defaults = [_CONFIG_FILE] if Path(_CONFIG_FILE).is_file() else None
    CONF(args=arguments, prog="osken-manager", project="os_ken", version=version, default_config_files=defaults)


def _improve_log() -> None:
    """Give os-ken's handlers times and levels, unless the user has a log configuration of his own."""
    if CONF.log_config_file:
        return
    for handler in logging.getLogger().handlers:
        handler.setFormatter(logging.Formatter(_FORMAT))


def _serve(apps: list[str]) -> int:
    """Load the apps and work until a signal says to leave."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    is_serving = False

    def note(number: int, _frame: FrameType | None) -> None:
        if not is_serving and number != signal.SIGHUP:
            # Loading may take long, and nothing has been told to any switch yet.
            raise SystemExit(0)
        signals.put(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    with _pid_file():
        runtime.apply_overrides()
        _allow_many_sockets()
        _collect_seldom()
        sys.setswitchinterval(_TURN_S)
        manager = AppManager.get_instance()
        code = _start(manager, apps)
        is_serving = True
        if code == 0:
            _tell_systemd("READY=1")
            _wait_for_the_end(manager, signals)
            _tell_systemd("STOPPING=1")
        _leave(manager)
        return code


def _collect_seldom() -> None:
    """Look for garbage cycles every 100,000 new objects in place of 700.

    A compilation makes hundreds of thousands of objects that stay, and hardly a cycle: at Python's default it spends half of
    its time looking for some.
    """
    gc.set_threshold(100_000, 50, 10)


def _start(manager: Any, apps: list[str]) -> int:
    """Load, check, and only then listen; return the exit code of what went wrong, 0 if nothing did."""
    problem = _objection(apps)
    if problem is not None:
        print(f"osken-manager: {problem}", file=sys.stderr)
        return _BAD_INPUT
    try:
        manager.load_apps(apps or ["os_ken.controller.ofp_handler"])
        manager.instantiate_apps(**manager.create_contexts())
    except ImportError as error:
        LOG.debug("the module cannot be imported", exc_info=True)
        print(f"osken-manager: {error}", file=sys.stderr)
        return _BAD_INPUT
    except OSError as error:
        return _trouble(error)
    except Exception as error:
        problems = getattr(error, "problems", None)
        if problems is None:
            raise
        print("\n".join(problems), file=sys.stderr)
        return _BAD_INPUT
    return 0


def _objection(apps: list[str]) -> str | None:
    """Return what is wrong with the options, or what our own app cannot do, though os-ken's manager has an option for it."""
    ports = {"tcp": CONF.ofp_tcp_listen_port, "ssl": CONF.ofp_ssl_listen_port}
    for kind, port in ports.items():
        if port is not None and not 0 <= port <= _LAST_PORT:
            return f"--ofp-{kind}-listen-port {port} is not between 0 and {_LAST_PORT}"
    complaint = _objection_to_tls()
    if complaint is not None or OUR_APP not in apps:
        return complaint
    if CONF.observe_links:
        LOG.warning("--observe-links is not needed: links come from the topology's files")
        CONF.set_override("observe_links", override=False)
    return None


def _objection_to_tls() -> str | None:
    """Return what is wrong with the options for TLS: nobody who asks for it shall be served in plain text."""
    try:
        has_tls = runtime.credentials() is not None
    except BadCredentials as problem:
        return str(problem)
    if has_tls and CONF.ofp_tcp_listen_port is not None:
        return "with TLS no port without is opened: say --ofp-ssl-listen-port in place of --ofp-tcp-listen-port"
    if has_tls and CONF.ofp_switch_address_list:
        return "with TLS switches connect to the controller: leave out --ofp-switch-address-list"
    if not has_tls and (CONF.ofp_ssl_listen_port is not None or CONF.ciphers is not None):
        return "TLS needs --ctl-privkey, --ctl-cert and --ca-certs; without them leave out --ofp-ssl-listen-port and --ciphers"
    return None


def _wait_for_the_end(manager: Any, signals: queue.SimpleQueue[int]) -> None:
    while (number := signals.get()) == signal.SIGHUP:
        reloads = [app.reload for app in manager.applications.values() if callable(getattr(app, "reload", None))]
        LOG.info("SIGHUP: %s", "reloading" if reloads else "nothing to reload")
        runtime.renew_certificates()
        for reload in reloads:
            reload()
    LOG.info("%s: leaving, the flows stay", signal.Signals(number).name)


def _leave(manager: Any) -> None:
    """Close everything, but within the time that was promised, whatever an app does."""
    runtime.stop_listening()
    closing = threading.Thread(target=manager.close, name="close", daemon=True)
    closing.start()
    closing.join(_LEAVE_S)
    if closing.is_alive():
        LOG.warning("an app does not stop, leaving without it")


@contextlib.contextmanager
def _pid_file() -> Iterator[None]:
    path = Path(CONF.pid_file) if CONF.pid_file else None
    if path is not None:
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def _allow_many_sockets() -> None:
    """Raise the limit of open files to what the system allows: a switch is a socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _tell_systemd(state: str) -> None:
    """Send a state to the service manager, if one asked for it (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
        channel.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
