"""Topology folders in few words. `«…»` in a text marks where a problem is expected; the marks are taken out."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from controller.config import Loaded, load

FABRIC = """
fabric: test
hosts:
  hv1: {tunnel_ip: 172.31.0.1, gateway: true}
  hv2: {tunnel_ip: 172.31.0.2}
  rack9: {tunnel_ip: 172.31.0.9, kind: vtep}
physical_networks:
  physnet1: {hosts: [hv1], vlans: 100-199}
  physnet2: {hosts: [hv2], vlans: 100-199}
external_networks:
  public:
    physical_network: physnet1
    vlan: 190
    cidr: [203.0.113.0/24, "2001:db8::/64"]
    gateway: [203.0.113.1, "2001:db8::1"]
    pool: [203.0.113.10-203.0.113.19, "2001:db8::10-2001:db8::1f"]
  lab: {physical_network: physnet2, cidr: 198.51.100.0/28}
tenants:
  red: {segments: 1000-1099, vlans: {physnet1: 110-119}}
  blue: {segments: 1100-1199, vlans: {physnet1: 120-129}}
"""


def write(folder: Path, **files: str) -> dict[str, tuple[int, int, int]]:
    """Write `fabric` (a usable one by default) and tenants' files; return file -> line, column and length of its mark."""
    marks = {}
    (folder / "tenants").mkdir(exist_ok=True)
    for name, given in ({"fabric": FABRIC} | files).items():
        path = folder / "fabric.yaml" if name == "fabric" else folder / "tenants" / f"{name}.yaml"
        text = dedent(given).removeprefix("\n")
        if "«" in text:
            before, _, rest = text.partition("«")
            marked, _, _ = rest.partition("»")
            marks[name] = before.count("\n") + 1, len(before) - before.rfind("\n"), len(marked)
        path.write_text(text.replace("«", "").replace("»", ""), encoding="utf-8")
    return marks


def loaded(folder: Path, **files: str) -> Loaded:
    """Write the files and load them."""
    write(folder, **files)
    return load(folder)


def codes(result: Loaded) -> list[str]:
    """Return the codes of the problems, in the files' order."""
    return [problem.code for problem in result.problems]
