"""The same files inside Debian's Mininet, under the system's Python, by `mn` and from Python.

Mininet cleans up after itself by process names and file patterns. It runs here in a process namespace and with a /tmp of its
own, where nobody else's processes and files are.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from controller.lab.namespaces import ip

ROOT = Path(__file__).resolve().parents[2]
INSIDE = Path("/tmp")  # noqa: S108 - As the commands see their private directory.
MININET = "controller/lab/mininet.py"
SYSTEM_PYTHON = "/usr/bin/python3"

pytestmark = pytest.mark.lab  # `make test` installs Mininet, so that a machine without it fails.

FABRIC = """\
fabric: classroom
hosts:
  hv1: {tunnel_ip: 172.31.0.1}
  hv2: {tunnel_ip: 172.31.0.2}
  rack9: {tunnel_ip: 172.31.0.9, kind: vtep}
physical_networks:
  physnet1: {hosts: [hv1, hv2], vlans: 100-199}
tenants:
  red: {segments: 1000-1099}
  blue: {segments: 1100-1199}
"""
RED = """\
networks:
  web: {cidr: 10.0.1.0/24, segment: 1000}
ports:
  web1: {network: web, ip: 10.0.1.11, host: hv1}
  web2: {network: web, ip: 10.0.1.12, host: hv2}
  metal: {network: web, ip: 10.0.1.19, host: rack9}
"""
BLUE = """\
networks:
  web: {cidr: 10.0.1.0/24}
ports:
  web2: {network: web, ip: 10.0.1.12, host: hv2}
"""

# What the controller would do, by hand: red's network across both hosts and the foreign VTEP.
SCRIPT = """\
import sys
sys.path.insert(0, {root!r})
from mininet.log import setLogLevel
from controller.lab.mininet import WeftNet, WeftTopo

setLogLevel("info")
net = WeftNet(topo=WeftTopo({folder!r}), controller=None)
net.start()
try:
    for host, peer, port in (("hv1", "172.31.0.2", "red.web1"), ("hv2", "172.31.0.1", "red.web2")):
        both = ",".join(f"set_field:{{to}}->tun_dst,output:vxlan" for to in (peer, "172.31.0.9"))
        for bridge, flow in (
            ("br-int", f"in_port={{port}},actions=output:patch-tun"),
            ("br-int", f"in_port=patch-tun,actions=output:{{port}}"),
            ("br-tun", f"in_port=patch-int,actions=set_field:1000->tun_id,{{both}}"),
            ("br-tun", "in_port=vxlan,tun_id=1000,actions=output:patch-int"),
        ):
            print(net[host].cmd(f"ovs-ofctl -O OpenFlow14 add-flow {{bridge}} '{{flow}}'"))
    net.pingAll()
finally:
    net.stop()
"""


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A directory that the commands of `alone` see as /tmp, with the files in `topology`."""
    for path, text in {"fabric.yaml": FABRIC, "tenants/red.yaml": RED, "tenants/blue.yaml": BLUE}.items():
        (tmp_path / "topology" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "topology" / path).write_text(text, encoding="utf-8")
    return tmp_path


@contextmanager
def still_visible(box: Path) -> Iterator[str]:
    """Yield the shell command that keeps the checkout where it is, also if that is below the /tmp that is hidden."""
    if not ROOT.is_relative_to(INSIDE):
        yield "true"
        return
    place = box / ROOT.relative_to(INSIDE)
    place.mkdir(parents=True)
    yield shlex.join(["mount", "--bind", str(ROOT), str(place)])
    while place != box:
        place.rmdir()
        place = place.parent


def alone(box: Path, *command: str, text: str = "", seconds: float = 60) -> str:
    """Run a command where its clean-up finds only itself; return what it printed."""
    with still_visible(box) as keep:
        inner = f'{keep} && mount --rbind "$0" /tmp && exec "$@"'
        wrapper = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inner, str(box)]
        done = subprocess.run(
            [*wrapper, *command],
            cwd=ROOT,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    assert done.returncode == 0, done.stdout
    return done.stdout


def mn(box: Path, *arguments: str, text: str = "") -> str:
    return alone(
        box, "mn", "--custom", MININET, "--topo", "weft,/tmp/topology", "--switch", "weft", *arguments, text=text
    )


def interfaces() -> set[str]:
    return {entry.name for entry in Path("/sys/class/net").iterdir()}


def test_mn_brings_the_files_up_and_leaves_nothing(box: Path) -> None:
    prompt = "red-web1 ip addr\nhv1 ovs-vsctl get bridge br-int fail_mode\nhv1 ping -c1 -W2 172.31.0.2\nexit\n"
    said = mn(box, "--controller", "none", text=prompt)
    assert "inet 10.0.1.11/24" in said
    assert "mtu 1450" in said
    assert "secure" in said
    assert "1 received" in said
    assert {entry.name for entry in box.iterdir()} == {"topology"}


@pytest.fixture
def controller(box: Path) -> Iterator[str]:
    """`osken-manager` on the machine's loopback, as Mininet's `--controller` names it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    manager = str(Path(sys.executable).with_name("osken-manager"))
    listen = ["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", str(port)]
    command = [
        manager,
        *listen,
        "--topology",
        str(box / "topology"),
        "--control",
        str(box / "control.sock"),
        "controller.app",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        yield f"remote,ip=127.0.0.1,port={port}"
        running.terminate()


def test_pingall_shows_what_the_files_allow(box: Path, controller: str) -> None:
    rows = matrix(mn(box, "--controller", controller, "--test", "pingall"))
    assert rows["red-web1"] == ["X", "red-metal", "red-web2"]
    assert rows["red-web2"] == ["X", "red-metal", "red-web1"]
    assert rows["red-metal"] == ["X", "red-web1", "red-web2"]
    assert rows["blue-web2"] == ["X", "X", "X"]


def matrix(said: str) -> dict[str, list[str]]:
    return {
        source: row.split() for source, arrow, row in (line.partition(" -> ") for line in said.splitlines()) if arrow
    }


def test_every_bridge_reaches_a_controller_on_the_machines_loopback(box: Path) -> None:
    hellos: list[bytes] = []

    def greet(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = server.accept()
                with client:
                    hellos.append(client.recv(8))

    with socket.create_server(("127.0.0.1", 0)) as server:
        listener = threading.Thread(target=greet, args=(server,))
        listener.start()
        try:
            mn(box, "--controller", f"remote,ip=127.0.0.1,port={server.getsockname()[1]}", text="sh sleep 0.5\nexit\n")
        finally:
            server.shutdown(socket.SHUT_RDWR)
            listener.join(5)
    said = [hello for hello in hellos if hello[:2] == bytes([5, 0])]
    assert len(said) >= 6, f"three bridges on each of two hosts say hello in OpenFlow 1.4: {hellos}"


def test_a_refused_file_is_said_as_weft_says_it(box: Path) -> None:
    (box / "topology" / "tenants" / "red.yaml").write_text("netwroks: {}\n", encoding="utf-8")
    wrapped = [
        "sh",
        "-c",
        f"mn --custom {MININET} --topo weft,/tmp/topology --switch weft --controller none; test $? = 1",
    ]
    assert "tenants/red.yaml:1:1" in alone(box, *wrapped)


def test_pingall_tells_tenants_with_the_same_addresses_apart(box: Path) -> None:
    (box / "story.py").write_text(SCRIPT.format(root=str(ROOT), folder=str(INSIDE / "topology")), encoding="utf-8")
    ours = f"ours{os.getpid()}"  # Other labs may come and go meanwhile.
    ip([f"link add {ours} type veth peer name {ours}p"])
    try:
        said = alone(box, SYSTEM_PYTHON, str(INSIDE / "story.py"))
        assert ours in interfaces()
    finally:
        ip([f"link del {ours}"])
    rows = matrix(said)
    assert rows["red-web1"] == ["X", "red-metal", "red-web2"]
    assert rows["red-metal"] == ["X", "red-web1", "red-web2"]
    assert rows["blue-web2"] == ["X", "X", "X"]
    assert {entry.name for entry in box.iterdir()} == {"topology", "story.py"}


@pytest.fixture
def trunks(box: Path) -> Path:
    """Files with VLAN-aware VMs."""
    red = (
        "networks:\n  net: {cidr: 10.0.1.0/24}\n  web: {cidr: 10.0.2.0/24}\n"
        "ports:\n  vm: {network: net, host: hv1, trunk: {101: web}}\n"
        "  fixed: {network: net, host: hv2, trunk: {7: web}}\n  web1: {network: web, host: hv1}\n"
    )
    (box / "topology/tenants/red.yaml").write_text(red, encoding="utf-8")
    return box


def test_pingall_reaches_subports_by_their_tags(trunks: Path, controller: str) -> None:
    rows = matrix(mn(trunks, "--controller", controller, "--test", "pingall"))
    assert set(rows["red-vm"]) == {"X", "red-fixed"}
    assert set(rows["red-vm.101"]) == {"X", "red-fixed.7", "red-web1"}
    assert set(rows["red-web1"]) == {"X", "red-fixed.7", "red-vm.101"}


@pytest.fixture
def ways_out(box: Path) -> Path:
    """Files with a router that leads out by a VLAN, and a floating IP."""
    fabric = (
        "fabric: classroom\nhosts:\n  hv1: {tunnel_ip: 172.31.0.1, gateway: true}\n  hv2: {tunnel_ip: 172.31.0.2}\n"
        "physical_networks:\n  physnet1: {hosts: [hv1]}\n"
        "external_networks:\n  public: {physical_network: physnet1, vlan: 100, cidr: 203.0.113.0/24, gateway: 203.0.113.1}\n"
        "tenants:\n  red: {segments: 1000-1099}\n"
    )
    red = (
        "networks:\n  web: {cidr: 10.0.1.0/24}\nrouters:\n  main: {networks: [web], external: public}\n"
        "floating_ips:\n  203.0.113.21: web2\nsecurity_groups:\n  all: {ingress: [{}]}\n"
        "ports:\n  web1: {network: web, host: hv1}\n  web2: {network: web, host: hv2, security_groups: [all]}\n"
    )
    (box / "topology/fabric.yaml").write_text(fabric, encoding="utf-8")
    (box / "topology/tenants/red.yaml").write_text(red, encoding="utf-8")
    (box / "topology/tenants/blue.yaml").unlink()
    return box


def test_the_world_is_reached_and_comes_in_by_floating_ips(ways_out: Path, controller: str) -> None:
    prompt = (
        "red-web1 ping -w20 -c3 -W1 198.51.100.9\nworld.internet ping -w20 -c2 -W1 203.0.113.21\n"
        "world.internet ping -c1 -W1 10.0.1.1\nexit\n"
    )
    said = mn(ways_out, "--controller", controller, text=prompt)
    answers = [line.split(", ")[1] for line in said.splitlines() if "packets transmitted" in line]
    assert answers == ["3 received", "2 received", "0 received"], said
