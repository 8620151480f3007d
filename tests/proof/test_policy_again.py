"""After a change only the tests that can have changed are run, and the results are those of running all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller import config
from controller.model.entities import PolicyTest, Topology
from controller.proof import policy
from controller.proof.oracle import Oracle
from controller.proof.policy import Judged, Result, run_again, run_tests

FABRIC = """
fabric: f
hosts: {hv1: {tunnel_ip: 172.31.0.1, gateway: true}, rack: {tunnel_ip: 172.31.0.9, kind: vtep}}
physical_networks: {wire: {hosts: hv1, vlans: 1-9}}
external_networks: {public: {physical_network: wire, vlan: 20, cidr: 203.0.113.0/24, gateway: 203.0.113.1}}
tenants: {red: {segments: 1-9, vlans: {wire: 1-9}}, blue: {segments: 10-19}, green: {segments: 20-29}}
"""
# Red shares its network, of which blue and green use what red lets them, with names and addresses that tests of others speak of.
NETWORKS = (
    "{net: {cidr: 10.0.0.0/24, share: [blue, green]}}",
    "{net: {cidr: 10.0.0.0/24, share: [blue, green]}, own: {}}",
    "{net: {type: vlan, physical_network: wire, cidr: 10.0.0.0/24, share: [green, blue]}}",
)
GROUPS = (
    "{web: {ingress: [{protocol: tcp, ports: 80}]}}",
    "{web: {ingress: [{protocol: tcp, ports: 80, from: {group: web}}], egress: any}}",
    "{web: {ingress: any, egress: [{protocol: tcp}]}}",
    "{web: {ingress: [{protocol: tcp, from: {address_group: red/corp}}]}}",
    "{web: {enforce: false, ingress: [{protocol: tcp, ports: 80, enforce: false}]}}",
)
# What red lends to the others.
LENT = (
    "lent: {share: any}}\naddress_groups: {corp: {cidrs: 10.0.0.0/8, share: any}}",
    "lent: {share: any, enforce: false}}\naddress_groups: {corp: {share: any}}",
    "lent: {share: any, ingress: [{protocol: tcp, from: {address_group: corp}}]}}\naddress_groups: {corp: {cidrs: 10.0.0.2, share: any}}",
    "lent: {share: any, stateless: true, ingress: any}}\naddress_groups: {corp: {cidrs: [10.0.0.3, 10.0.0.64/26], share: any}}",
)
PORTS = (
    "{a: {network: red/net, host: hv1, ip: 10.0.0.%d, security_groups: [web]}}",
    "{a: {network: red/net, ip: 10.0.0.%d, security_groups: [web]}, b: {network: red/net, ip: 10.0.0.9%d}}",
    "{a: {network: red/net, host: hv1, ip: 10.0.0.%d, allowed_addresses: [{ip: 10.0.0.77}]}}",
    "{a: {network: red/net, ip: 10.0.0.%d, port_security: false}}",
    "{a: {network: red/net, ip: 10.0.0.%d, security_groups: [red/lent]}}",
    "{a: {network: red/net, ip: 10.0.0.%d, security_groups: [web]}, b: {network: red/net, ip: 10.0.0.9%d, security_groups: red/lent}}",
)
# A network with a port and a way out, by addresses that the tenants take turns in having.
OUTSIDE = (
    "",
    "routers: {r: {networks: [NETWORKS], external: public}}\nfloating_ips: {203.0.113.77: o}\n",
    "routers: {r: {networks: [NETWORKS], external: public, address: 203.0.113.78}}\nfloating_ips: {203.0.113.79: o}\n",
    "routers: {r: {networks: [NETWORKS], external: public, snat: false}}\n",
    "routers: {r: {networks: [NETWORKS]}}\n",
)
OUTER = ["o", "red/o", "blue/o", "8.8.8.8", "203.0.113.77", "203.0.113.78", "203.0.113.79"]
ENDS = st.sampled_from(["a", "red/a", "blue/a", "green/a", "10.0.0.77", "10.0.0.92", "10.0.0.1", *OUTER])
TESTS = st.lists(
    st.tuples(ENDS, ENDS, st.sampled_from(["tcp, port: 80", "tcp", "any", "icmp"]), st.sampled_from(["allow", "deny"])),
    max_size=3,
)
File = tuple[str, str, str, list[tuple[str, str, str, str]]]
FILES = st.tuples(st.sampled_from(GROUPS), st.sampled_from(PORTS), st.sampled_from(OUTSIDE), TESTS)
RED = st.tuples(st.sampled_from(NETWORKS), st.sampled_from(LENT))
EDITS = st.lists(st.tuples(st.sampled_from(["red", "blue", "green"]), RED, FILES), max_size=8)
START = (
    "red",
    (NETWORKS[0], LENT[0]),
    (GROUPS[0], PORTS[0], OUTSIDE[0], [("a", "10.0.0.92", "any", "deny"), ("a", "blue/a", "tcp", "deny")]),
)


def write(folder: Path, tenant: str, red: tuple[str, str], file: File) -> Path:
    """Write a tenant's file; `red` is what it says if it is red's."""
    number = 1 + ("red", "blue", "green").index(tenant)
    groups, ports, outside, tests = file
    ports = ports.replace("9%d", f"9{number}").replace("%d", f"{number + 1}")
    lines = [
        f"  - {{from: {source}, to: {target}, protocol: {protocol}, expect: {verdict}}}\n"
        for source, target, protocol, verdict in tests
        if "/" in source + target or {"a", "o"} & {source, target}
    ]
    path = folder / "tenants" / f"{tenant}.yaml"
    networks, lent = red
    if tenant == "red":
        groups = groups.removesuffix("}") + f", {lent}"
    own = networks if tenant == "red" else "{}"
    if outside:
        own = f"{own.removesuffix('}')}{', ' if own != '{}' else ''}out: {{cidr: 10.9.0.0/24}}}}"
        ports = ports.removesuffix("}") + ", o: {network: out, host: hv1, security_groups: [web]}}"
        outside = outside.replace("NETWORKS", "net, out" if tenant == "red" else "out")
    path.write_text(f"networks: {own}\nsecurity_groups: {groups}\nports: {ports}\n{outside}tests:\n{''.join(lines)}")
    return path


@settings(max_examples=200, deadline=None)
@given(EDITS)
def test_any_sequence_of_edits(edits: list[tuple[str, tuple[str, str], File]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tenants").mkdir()
        (folder / "fabric.yaml").write_text(FABRIC)
        for tenant in ("blue", "green"):
            write(folder, tenant, START[1], START[2])
        cache = config.Cache()
        topology: Topology | None = None
        tested: Judged | None = None
        for tenant, red, file in (START, *edits):
            path = write(folder, tenant, red, file)
            loaded = config.load(folder, topology, cache, {path})
            if loaded.topology is not None:
                topology = loaded.topology
                tested = run_again(topology, tested, loaded.tenants)
                assert tested.results == run_tests(topology)
        assert topology is not None


TENANT = "networks: {net: {cidr: 10.0.0.0/24}}\nports: {a: {network: net}, b: {network: net}}\n"
OWN_TEST = "tests: [{from: a, to: b, expect: allow}]\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tenants").mkdir()
    (tmp_path / "fabric.yaml").write_text(FABRIC)
    return tmp_path


def run_count(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, int]:
    """Return how often each tenant's tests are run from now on."""
    counts: dict[str, int] = {}
    real = policy._run

    def counting(oracle: Oracle, test: PolicyTest) -> Result:
        counts[test.tenant] = counts.get(test.tenant, 0) + 1
        return real(oracle, test)

    monkeypatch.setattr(policy, "_run", counting)
    return counts


def test_tests_of_tenants_that_nothing_changed_for_are_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tenant in ("red", "blue", "green"):
        (folder / "tenants" / f"{tenant}.yaml").write_text(TENANT + OWN_TEST)
    (folder / "tenants" / "green.yaml").write_text(TENANT + "tests: [{from: a, to: red/a, expect: deny}]\n")
    cache = config.Cache()
    first = config.load(folder, None, cache).topology
    assert first is not None
    tested = run_again(first)
    (folder / "tenants" / "red.yaml").write_text(TENANT.replace("b:", "c: {network: net}, b:") + OWN_TEST)
    second = config.load(folder, first, cache)
    assert second.topology is not None
    counts = run_count(monkeypatch)
    assert all(result.passed for result in run_again(second.topology, tested, second.tenants).results)
    assert counts == {"red": 1, "green": 1}


def test_a_shared_group_is_read_by_the_tests_of_its_users(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lent = "security_groups: {web: {share: any, ingress: [{from: {address_group: green/corp}}]}}\n"
    corp = "address_groups: {corp: {cidrs: 10.0.0.0/24, share: red}}\n"
    user = TENANT.replace("a: {network: net}", "a: {network: net, security_groups: red/web, ip: 10.0.0.5}")
    for tenant, text in (
        ("red", lent),
        ("green", corp),
        ("blue", user + "tests: [{from: b, to: 10.0.0.5, expect: allow}]\n"),
    ):
        (folder / "tenants" / f"{tenant}.yaml").write_text(text)
    cache = config.Cache()
    first = config.load(folder, None, cache).topology
    assert first is not None
    tested = run_again(first)
    assert [result.passed for result in tested.results] == [True]
    (folder / "tenants" / "green.yaml").write_text(corp.replace("10.0.0.0/24", "192.0.2.0/24"))
    second = config.load(folder, first, cache)
    assert second.topology is not None
    counts = run_count(monkeypatch)
    assert [result.passed for result in run_again(second.topology, tested, second.tenants).results] == [False]
    assert counts == {"blue": 1}
