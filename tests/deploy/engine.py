"""A private container engine: its own directory, socket, network namespace and processes, and nothing is left of them.

No registry is asked. The base image is made here with `debootstrap` from the machine's own mirror. Images are built in the machine's
network, which the builds need; containers run in a namespace without a way out, so that their networks meet nobody else's.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
BASE = "debian:bookworm-slim"

_PROGRAMS = {"dockerd": "docker.io", "docker-compose": "docker-compose", "debootstrap": "debootstrap"}
_CERTIFICATES = "/etc/machine.crt"
# What the machine needs to reach the package index, an image that is built on it needs as well.
_INHERITED = ("PIP_INDEX_URL", "PIP_TRUSTED_HOST", "http_proxy", "https_proxy", "no_proxy")
# The engine's mounts are its own, so that they end with it, and so are the places where it would meet the machine's engine.
_OWN_PLACES = """
for place in /run/docker /run/containerd /etc/docker; do
    mkdir -p $place && mount -t tmpfs weft $place || exit
done
exec "$@"
"""
_SYSTEM = "/usr/sbin:/sbin"  # Where Debian keeps them, and not every PATH leads.


class NoEngine(Exception):
    """No container engine can run here; the message says why."""


class Engine:
    """An engine with Weft's images in it, running in a network namespace of its own. A context manager."""

    def __init__(self) -> None:
        path = f"{os.environ['PATH']}:{_SYSTEM}"
        missing = [package for program, package in _PROGRAMS.items() if not shutil.which(program, path=path)]
        if os.geteuid() != 0:
            raise NoEngine("no container engine can run here: it needs root")
        if missing:
            raise NoEngine(f"no container engine can run here: apt install {' '.join(missing)}")
        self._home = Path(tempfile.mkdtemp(prefix="weft-engine-"))
        self.name = self._home.name
        self._daemon: subprocess.Popen[bytes] | None = None
        self._environment = {
            **os.environ,
            "PATH": path,
            "DOCKER_HOST": f"unix://{self._home}/engine.sock",
            "DOCKER_CONFIG": str(self._home),
            "COMPOSE_PROJECT_NAME": "weft",
            "COMPOSE_ANSI": "never",
        }

    def __enter__(self) -> Self:
        try:
            self._start()
            self._make_base()
            self._build()
            self._stop()
            self._run("ip", "netns", "add", self.name)
            self._start("nsenter", f"--net=/run/netns/{self.name}")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the engine and remove all that it made."""
        if self._daemon:
            self.compose("down", "--volumes", "--timeout", "1", check=False)
            self._stop()
        if Path("/run/netns", self.name).exists():
            self._run("ip", "netns", "delete", self.name)
        for group in (*Path("/sys/fs/cgroup").glob(f"*/{self.name}"), Path("/sys/fs/cgroup", self.name)):
            with suppress(FileNotFoundError):
                group.rmdir()
        shutil.rmtree(self._home)

    def compose(self, *words: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run `docker-compose` on the file of the checkout."""
        return self._run("docker-compose", "-f", str(ROOT / "docker-compose.yml"), *words, check=check, seconds=seconds)

    def inside(self, service: str, *command: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container."""
        return self.compose("exec", "-T", service, *command, check=False, seconds=seconds)

    def health(self) -> Mapping[str, str]:
        """Return each service's container's health: `healthy`, `starting`, `unhealthy`, or how it ended."""
        label = '{{index .Config.Labels "com.docker.compose.service"}}'
        state = "{{if .State.Running}}{{.State.Health.Status}}{{else}}{{.State.Status}}{{end}}"
        containers = self._run("docker", "ps", "--all", "--quiet").stdout.split()
        lines = self._run("docker", "inspect", "--format", f"{label} {state}", *containers).stdout.splitlines()
        return dict(line.split() for line in lines)

    def logs(self) -> str:
        """Return what the containers have said lately."""
        return self.compose("logs", "--tail=20", check=False).stdout

    def _start(self, *launcher: str) -> None:
        home = self._home
        settings = home / "daemon.json"
        settings.write_text("{}", encoding="utf-8")
        log = home / "log"
        command = [
            *("unshare", "--mount", "sh", "-c", _OWN_PLACES, "sh", "dockerd"),
            f"--host={self._environment['DOCKER_HOST']}",
            f"--config-file={settings}",
            f"--data-root={home}/data",
            f"--exec-root={home}/exec",
            f"--pidfile={home}/pid",
            f"--cgroup-parent=/{self.name}",
            # Nothing of the machine's own network is touched: no bridge, no filter, no forwarding.
            *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
        ]
        with log.open("wb") as into:
            self._daemon = subprocess.Popen(
                [*launcher, *command], stdin=subprocess.DEVNULL, stdout=into, stderr=into, env=self._environment
            )
        daemon = self._daemon
        wait_for(lambda: daemon.poll() is not None or self._answers(), 60, "the engine to start")
        if daemon.poll() is not None:
            self._daemon = None
            raise NoEngine(f"no container engine can run here: dockerd: {_last_line(log.read_text(encoding='utf-8'))}")

    def _answers(self) -> bool:
        return self._run("docker", "version", check=False).returncode == 0

    def _stop(self) -> None:
        if self._daemon:
            self._daemon.send_signal(signal.SIGTERM)
            self._daemon.wait(60)
            self._daemon = None

    def _make_base(self) -> None:
        root = self._home / "base"
        filters = ("Created-By: Packages", "Codename: bookworm", "Component: main")
        mirrors = self._run("apt-get", "indextargets", "--format", "$(REPO_URI)", *filters, check=False).stdout.split()
        made = self._run(
            # It mounts /proc in there while it works.
            *("unshare", "--mount", "debootstrap", "--variant=minbase", "bookworm", str(root)),
            *mirrors[:1],
            check=False,
            seconds=300,
        )
        if made.returncode:
            raise NoEngine(f"no base image can be made here: debootstrap: {_last_line(made.stdout + made.stderr)}")
        settings = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        trusted = ssl.get_default_verify_paths().cafile
        if trusted:
            Path(f"{root}{_CERTIFICATES}").write_bytes(Path(trusted).read_bytes())
            settings["PIP_CERT"] = _CERTIFICATES
        changes = [word for name, value in settings.items() for word in ("--change", f"ENV {name}={value}")]
        packed = self._home / "base.tar"
        self._run("tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-cf", str(packed), ".")
        shutil.rmtree(root)
        self._run("docker", "import", *changes, str(packed), BASE)
        packed.unlink()
        rights = ("--cap-drop=ALL", "--cap-add=NET_ADMIN", "--cap-add=NET_RAW", "--device=/dev/net/tun")
        tried = self._run("docker", "run", "--rm", "--network=none", *rights, BASE, "true", check=False)
        if tried.returncode:
            raise NoEngine(f"no container can run here: {_last_line(tried.stderr)}")

    def _build(self) -> None:
        reach = self._home / "build.yml"
        reach.write_text(
            "services: {controller: {build: {network: host}}, hv1: {build: {network: host}}}\n", encoding="utf-8"
        )
        self.compose("-f", str(reach), "build", "hv1", "controller", seconds=600)

    def _run(self, *command: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        if check and done.returncode:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise AssertionError(f"{' '.join(command)}: exit {done.returncode}\n{said}")
        return done


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return when the condition holds; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.2)
