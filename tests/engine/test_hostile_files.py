"""Hostile: files that are in order, but ask for what would harm others on the same bridge, are refused whole."""

from __future__ import annotations

from pathlib import Path

from controller.engine import Engine

FABRIC = """\
fabric: f
hosts: {hv1: {tunnel_ip: 172.31.0.1}, hv2: {tunnel_ip: 172.31.0.2}}
tenants: {red: {segments: 1000-1099}, blue: {segments: 1100-1199}}
"""


def load(folder: Path, files: dict[str, str], fabric: str = FABRIC) -> tuple[str, ...]:
    """Load these tenants' files; return why they are refused, or nothing."""
    (folder / "tenants").mkdir()
    (folder / "fabric.yaml").write_text(fabric)
    for tenant, text in files.items():
        (folder / "tenants" / f"{tenant}.yaml").write_text(text)
    report = Engine(folder).load()
    assert report.accepted != bool(report.problems)
    return report.problems


def groups(name: str) -> str:
    return f"""\
networks: {{n: {{cidr: 10.0.0.0/24}}}}
security_groups: {{{name}: {{ingress: [{{protocol: tcp}}]}}}}
ports: {{p: {{network: n, host: hv1, security_groups: [{name}]}}}}
"""


def test_groups_whose_hashes_are_equal_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """A tenant who looks for a name long enough could open another tenant's ports."""
    (problem,) = load(tmp_path, {"red": groups("g41765"), "blue": groups("g30566")})
    assert "security groups" in problem
    for name in ("red/g41765", "blue/g30566", "tenants/red.yaml:2:", "tenants/blue.yaml:2:", "rename one"):
        assert name in problem


def test_address_spaces_whose_hashes_are_equal_are_not_joined(tmp_path: Path) -> None:
    text = "networks: {%s: {cidr: 10.0.0.0/24}}\nports: {p: {network: %s, host: hv1}}\n"
    (problem,) = load(tmp_path, {"red": text % ("g98404", "g98404"), "blue": text % ("g96303", "g96303")})
    for name in ("red/g98404", "blue/g96303", "tenants/red.yaml:1:", "tenants/blue.yaml:1:", "rename one"):
        assert name in problem


def test_more_ports_than_a_flow_can_name_are_refused_before_they_block_the_host(tmp_path: Path) -> None:
    ports = "".join(f"  p{number}: {{network: n, host: hv1, security_groups: []}}\n" for number in range(4200))
    (problem,) = load(tmp_path, {"red": f"networks:\n  n: {{cidr: 10.0.0.0/16}}\nports:\n{ports}"})
    for part in ("network red/n (", "tenants/red.yaml:2:", "on hv1", "more networks"):
        assert part in problem


def test_more_vteps_than_a_flow_can_name_are_refused(tmp_path: Path) -> None:
    count = 1400
    hosts = "".join(f"  h{n}: {{tunnel_ip: 172.31.{n // 250}.{n % 250 + 1}}}\n" for n in range(count))
    ports = "".join(f"  p{n}: {{network: n, host: h{n}, security_groups: []}}\n" for n in range(count))
    fabric = f"fabric: f\nhosts:\n{hosts}tenants: {{red: {{segments: 1000-1099}}}}\n"
    (problem,) = load(tmp_path, {"red": f"networks:\n  n: {{cidr: 10.0.0.0/16}}\nports:\n{ports}"}, fabric)
    for part in ("network red/n (", "tenants/red.yaml:2:", "on h0", "more networks"):
        assert part in problem
