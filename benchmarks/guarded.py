"""A small fabric for the data plane: two hosts, groups of twenty rules, and beside Weft's pipeline the least that could do instead.

The two pipelines take turns in the same bridges, on the same interfaces, while no controller runs: what differs between two measurements
is the flows alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from benchmarks.datapath import Datapath
from benchmarks.measure import by_turns
from benchmarks.packets import NotEnforced
from benchmarks.site import Site
from benchmarks.traffic import UDP, Header, frame, wire
from benchmarks.workload import Document, Size, generate

_SIZE = Size(hosts=2, tenants=1, networks_per_tenant=1, ports_per_network=16, rules_per_group=20)
SERVICE = 5000  # Of UDP; the ports of `web` are open to `app` from here.
SSH, NOT_OPEN = 22, 23
_DISCARD = 9  # The port whose packets nobody answers (RFC 863).

Port = Mapping[str, Any]


class Pipeline(StrEnum):
    """Whose flows the bridges hold."""

    WEFT = "Weft"
    BARE = "bare"


@dataclass(frozen=True, slots=True)
class Cast:
    """Who talks to whom: clients are of `app`, servers of `web`, and everybody but `far` is on the first host."""

    server: Port
    client: Port
    far: Port
    innocent_server: Port
    innocent_client: Port
    victim: Port
    open_scanner: Port  # May send whatever it likes: the victim's rules refuse it.
    bound_scanner: Port  # Its own egress rules refuse most of what it sends.


def guarded() -> Document:
    """Return a tenant with both groups on both hosts, and one more group that has twenty rules for what goes out."""
    document = generate(_SIZE)
    tenant = document["ports"][0]["tenant"]
    for number, port in enumerate(document["ports"]):
        port["host"] = f"host{number // 2 % _SIZE.hosts + 1}"
    web, app = document["groups"]
    drawn = [rule for rule in (*web["rules"], *app["rules"]) if rule.get("remote_cidr", "0.0.0.0/0") != "0.0.0.0/0"]
    outward = [rule | {"direction": "egress"} for rule in drawn[: _SIZE.rules_per_group]]
    document["groups"].append({"name": f"{tenant}-bound", "tenant": tenant, "rules": outward})
    service = {"protocol": "udp", "port_min": SERVICE, "port_max": SERVICE + 99, "remote_group": app["name"]}
    web["rules"][-1] = {"direction": "ingress", **service}
    cast(document).bound_scanner["groups"][:] = [f"{tenant}-bound"]
    return document


def cast(document: Document) -> Cast:
    """Return the ports of `guarded` by what they do."""
    ports = document["ports"]
    return Cast(
        server=ports[0],
        client=ports[1],
        far=ports[3],
        innocent_server=ports[4],
        innocent_client=ports[5],
        victim=ports[8],
        open_scanner=ports[9],
        bound_scanner=ports[13],
    )


def full_name(port: Port) -> str:
    """Return what Weft calls a port of a workload."""
    return f"{port['tenant']}/{port['name']}"


class Pipelines:
    """The flows of all bridges, Weft's and bare ones, and which of them are there. The controller must not run."""

    def __init__(self, site: Site, document: Document, directory: Path) -> None:
        self._site = site
        self._document = document
        self._files: dict[tuple[Pipeline, str, str], Path] = {}
        self.now = Pipeline.WEFT
        self.datapaths = {host: Datapath(site.lab, host) for host in site.hosts}
        for host in site.hosts:
            for bridge in site.lab.plan.hosts[host].bridges:
                is_integration = bridge == site.lab.plan.hosts[host].integration_bridge
                bare = _integration() if is_integration else _tunnel(document, host)
                self._keep(Pipeline.WEFT, host, bridge, self._dump(host, bridge), directory)
                self._keep(Pipeline.BARE, host, bridge, bare, directory)

    def use(self, wanted: Pipeline) -> None:
        """Let all bridges hold these flows, and forget megaflows and connections, so that every measurement begins alike."""
        if wanted is not self.now:
            for (pipeline, host, bridge), path in self._files.items():
                if pipeline is wanted:
                    words = ["ovs-ofctl", "--bundle", "replace-flows", bridge, str(path)]
                    self._site.lab.exec_host(host, words, check=True)
            self.now = wanted
            if wanted is Pipeline.BARE:
                self._teach()
        for datapath in self.datapaths.values():
            datapath.forget()

    def restore(self) -> None:
        """Let the bridges hold Weft's flows; raise NotEnforced if they are not those that the controller wrote."""
        self.use(Pipeline.WEFT)
        for (pipeline, host, bridge), path in self._files.items():
            if pipeline is Pipeline.WEFT:
                kept = path.read_text(encoding="utf-8").splitlines()
                if _identities(self._dump(host, bridge)) != _identities(kept):
                    raise NotEnforced(f"{bridge} of {host} does not hold the flows that were measured")

    def _teach(self) -> None:
        """Let every port send a frame, so that the learning switches know it and flood nothing."""
        first, *others = self._document["ports"]
        for port in (*others, first):
            target = others[0] if port is first else first
            with wire(self._site.lab.port_namespace(full_name(port))) as channel:
                channel.send(frame(port, target, Header(UDP, target["ip"], _DISCARD, _DISCARD)))

    def _dump(self, host: str, bridge: str) -> list[str]:
        words = ["ovs-ofctl", "--no-names", "--no-stats", "dump-flows", bridge]
        said = self._site.lab.exec_host(host, words, check=True).stdout
        return [line.strip() for line in said.splitlines() if "actions=" in line]

    def _keep(self, pipeline: Pipeline, host: str, bridge: str, lines: list[str], directory: Path) -> None:
        path = directory / f"{pipeline}.{host}.{bridge}.flows"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._files[pipeline, host, bridge] = path


def _identities(lines: Iterable[str]) -> list[str]:
    """Return what names each flow; its actions are in its cookie, a digest, for a switch words some otherwise that it read from text."""
    return sorted(line.partition(" actions=")[0] for line in lines)


def turns(pairs: int, seconds: float = math.inf) -> Iterator[Pipeline]:
    """Yield each pipeline so often, as `by_turns` does.

    >>> " ".join(turns(3))
    'Weft bare bare Weft Weft bare'
    """
    return by_turns(Pipeline.WEFT, Pipeline.BARE, pairs, seconds)


def _integration() -> list[str]:
    """Return a learning switch that tracks connections and lets everything through: one `ct` and no rule."""
    return [
        "table=0,arp,actions=NORMAL",
        "table=0,ip,actions=ct(table=1)",
        "table=1,ip,ct_state=+trk+new,actions=ct(commit),NORMAL",
        "table=1,ip,ct_state=+trk+est,actions=NORMAL",
    ]


def _tunnel(document: Document, host: str) -> list[str]:
    """Return a wire to the other host, through the tunnel port that Weft uses."""
    (key,) = (network["vni"] for network in document["networks"])
    (peer,) = (each["tunnel_ip"] for each in document["hosts"] if each["name"] != host)
    return [
        f"table=0,in_port=patch-int,actions=set_field:{key}->tun_id,set_field:{peer}->tun_dst,output:vxlan",
        f"table=0,in_port=vxlan,tun_id={key},actions=output:patch-int",
    ]
