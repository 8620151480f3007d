"""A load that is told what changed says exactly what a load of everything says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.config import Cache, Loaded, load
from controller.model.entities import AddressGroup, FloatingIp, Network, Port, Router, SecurityGroup, Topology
from tests.config.folders import FABRIC, write

TENANTS = ("red", "blue", "green", "pink")

# What tenants' files may say. Red's network and groups are wanted by others, so what red says decides whether they can have them;
# addresses are few.
NET = "networks: {net: {cidr: 10.0.1.0/28, share: [blue, green]}}\nports: {a: {network: net}}\n"
OWN = "networks: {own: {cidr: 10.0.1.0/28}}\nports: {a: {network: own}}\n"
RED = (
    "networks: {net: {cidr: 10.0.1.0/28, share: [blue, green]}}",
    "networks: {net: {cidr: 10.0.1.0/28, share: [blue, green]}}\nports: {a: {network: net}, b: {network: net, ip: 10.0.1.9}}",
    "networks: {net: {cidr: 10.0.1.0/29, share: [blue, green]}}\nports: {c: {network: net}, a: {network: net}}",
    "networks: {net: {cidr: 10.0.1.0/28, share: [blue]}, more: {}}\nports: {a: {network: net, ip: 10.0.1.4}}",
    "networks: {net: {cidr: 10.0.1.0/28}}\nports: {a: {network: net}}\ntests: [{from: a, to: blue/a, expect: deny}]",
    "security_groups: {web: {share: any}, app: {share: [blue], log: true}}\naddress_groups: {corp: {cidrs: 10.0.0.0/8, share: any}}",
    "security_groups: {web: {share: [blue, green], stateless: true}}\naddress_groups: {corp: {cidrs: [10.0.0.9, 10.0.0.9], share: green}}",
    "security_groups: {web: {share: any, ingress: [{enforce: false}]}, app: {enforce: false, share: any}}",
    "security_groups: {web: {share: any, stateless: true}, app: {share: any, stateless: true}}\naddress_groups: {corp: 10.0.0.1}",
    NET + "routers: {main: {networks: net, external: public}}",
    NET + "routers: {main: {networks: net, external: public}, up: {external: public}}\nfloating_ips: {203.0.113.12: a}",
    NET
    + "routers: {main: {networks: net, external: public, address: 203.0.113.11}}\nfloating_ips: {'2001:db8::12': a}",
    NET + "routers: {main: {networks: net, external: lab}, up: {external: public}}\nfloating_ips: {198.51.100.3: a}",
)
OTHERS = (
    "",
    "ports: {a: {network: red/net}}\nfloating_ips: {203.0.113.13: a}",
    OWN + "routers: {main: {networks: own, external: public}}\nfloating_ips: {203.0.113.12: a}",
    OWN + "routers: {main: {networks: own, external: public}}\nfloating_ips: {203.0.113.11: {port: a}}",
    OWN + "routers: {main: {networks: own, external: public}, up: {external: public}, out: {external: public}}",
    OWN + "routers: {main: {networks: own, external: public, address: [203.0.113.10, '2001:db8::11']}}",
    OWN
    + "routers: {main: {networks: own, routes: [{to: 0.0.0.0/0, via: 10.0.1.9}, {to: 10.9.0.0/16, via: 10.0.1.8}]}}",
    "networks: {own: {cidr: 10.0.1.0/28}}\nports: {a: {network: own, trunk: {5: red/net}}}",
    "networks: {own: {}}\nports: {a: {network: own, trunk: {5: {network: red/net, ip: 10.0.1.9}}}}",
    "networks: {own: {}}\nports: {a: {network: own, trunk: {5: red/more}}}",
    "networks: {own: {cidr: 10.0.1.0/28}}\nports: {a: {network: own}}",
    "networks: {own: {cidr: 10.0.1.0/28}}\nports: {a: {network: own, ip: 10.0.1.9}, b: {network: red/net}}",
    "ports: {a: {network: red/net, ip: 10.0.1.9}, b: {network: red/net}, c: {network: red/net}}",
    "port_groups: {web: {network: red/net}}\nports: {b: {port_group: web, mac: '02:00:00:00:00:01'}}",
    "networks: {own: {}}\nports: {b: {network: own}}\ntests: [{from: b, to: red/a, expect: deny}]",
    "networks: {own: {type: flat, physical_network: physnet1}}",
    "networks: {own: {}}\nports: {a: {network: own, security_groups: [red/web, red/app]}, b: {network: own, security_groups: red/web}}",
    "networks: {own: {}}\nport_groups: {all: {network: own, security_groups: [red/web, default]}}\nports: {a: {port_group: all}}",
    "security_groups: {default: {ingress: [{from: [{group: red/web}, {address_group: red/corp}]}]}, web: {share: red, log: true}}",
    "networks: {own: {}}\nports: {a: {network: own, new_connections: 5/s, ethertypes: lldp}}\naddress_groups: {corp: {share: any}}",
    "networks: {own: {}}\nports: {a: {network: own, new_connections: 6/s, ethertypes: [lldp, ptp]}}\naddress_groups: {corp: [10.0.0.1]}",
    "networks: {own: {}}\nports: {a: {network: own, host: hv1, security_groups: [web]}}\nsecurity_groups: {web: {ingress: [{}, {}]}}",
)
BROKEN = (
    "networks: {net: {cidr: x, share: blue}}",
    "networks: {net: {cidr: 10.0.1.0/28, share: [blue, green]}}\nports: {a: {network: [}}",
    "ports: {a: {}, a: {network: nowhere}}\ntests: [{from: a, to: nobody/a, expect: maybe}]",
    "networks: {net: {cidr: 10.0.1.0/28, share: [blue, green]}}\nports: {a: {}}",
    "security_groups: {web: {share: any, egress: nothing}, app: {share: [any, nobody]}}\naddress_groups: {corp: [x]}",
    "security_groups: {web: {share: {}}}\naddress_groups: {corp: {share: [[]]}}",
    "routers: {main: {external: public, via: x}, up: {external: public}}\nfloating_ips: {203.0.113.12: a}",
)
# So few that not everybody gets one, and who comes later may take away what was given out.
FEW = FABRIC.replace("203.0.113.10-203.0.113.19", "203.0.113.10-203.0.113.14").replace("::10-", "::1a-")
GRANTS = FEW.replace("120-129}", "120-129}, ports: 3").replace("  red:", "  pink: {segments: 1200-1299}\n  red:")
FABRICS = (
    FEW + "  green: {segments: 1200-1201, vlans: {physnet1: []}}\n",
    FEW.replace("113.14", "113.12") + "  green: {segments: 1200-1299}\n  pink: {ports: 1}\nmtu: 9000\n",
    GRANTS + "  green: {vlans: {physnet1: []}}\n",
    FABRIC,
    "fabric: [\n",
    "fabric: test\ntenants: {red: {segments: 5-1}, blue: {}}\n",
)

LINES = st.sampled_from(["", "# a line that moves all others\n"])


def files(texts: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    """Return what a tenant's file may become: mostly good, sometimes broken or gone."""
    good = st.builds(str.__add__, LINES, st.sampled_from(texts))
    return st.integers(0, 9).flatmap(
        lambda chance: st.none() if chance == 0 else st.sampled_from(BROKEN) if chance == 1 else good
    )


EDITS = st.integers(0, 19).flatmap(
    lambda chance: {
        0: st.tuples(st.just("fabric.yaml"), st.sampled_from(FABRICS)),
        1: st.tuples(st.sampled_from(["tenants/notes", "tenants/red.yml", "more.yaml"]), st.sampled_from([None, ""])),
        2: st.tuples(st.just("rename"), st.sampled_from(TENANTS[1:])),
    }.get(
        chance,
        st.tuples(st.just("tenants/red.yaml"), files(RED))
        if chance < 9
        else st.tuples(st.sampled_from([f"tenants/{tenant}.yaml" for tenant in TENANTS[1:]]), files(OTHERS)),
    )
)


def edit(folder: Path, what: str, text: str | None) -> set[Path]:
    """Make an edit; return the paths that it changes."""
    if what == "rename":
        old, new = folder / "tenants" / "red.yaml", folder / "tenants" / f"{text}.yaml"
        if old.exists():
            old.rename(new)
        return {old, new}
    path = folder / what
    if text is None:
        path.unlink(missing_ok=True)
    else:
        path.write_text(text)
    return {path}


def told(topology: Topology | None) -> Mapping[str, object] | None:
    """Return all that a topology says, in order and with the places, which equality leaves out."""
    if topology is None:
        return None
    found = {each.name: getattr(topology, each.name) for each in fields(topology) if each.name != "tests"}
    return {
        name: repr(list(value.items()) if isinstance(value, Mapping) else value) for name, value in found.items()
    } | {"tests": repr(topology.tests)}


def untouched(topology: Topology, tenants: frozenset[str]) -> str:
    """Return what a topology says of all but these tenants."""
    mappings: tuple[Mapping[str, Network | SecurityGroup | AddressGroup | Port | Router | FloatingIp], ...] = (
        topology.networks,
        topology.groups,
        topology.address_groups,
        topology.ports,
        topology.routers,
        topology.floating_ips,
    )
    kept = [[each for each in mapping.values() if each.tenant not in tenants] for mapping in mappings]
    return repr((kept, [test for test in topology.tests if test.tenant not in tenants]))


def check(now: Loaded, fresh: Loaded, previous: Topology | None) -> None:
    """Compare a load that was told what changed with a load of everything."""
    assert told(now.topology) == told(fresh.topology)
    assert (now.topology == fresh.topology) is True
    assert (now.problems, now.files, now.left_out) == (fresh.problems, fresh.files, fresh.left_out)
    if now.tenants is not None and now.topology is not None:
        assert previous is not None
        assert untouched(now.topology, now.tenants) == untouched(previous, now.tenants)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.lists(EDITS, min_size=1, max_size=2), st.integers(0, 6)), max_size=15))
def test_any_sequence_of_edits(steps: list[tuple[list[tuple[str, str | None]], int]]) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, fabric=FABRICS[0], red=RED[0], blue=OTHERS[3], green=OTHERS[4])
        cache = Cache()
        first = previous = load(folder, None, cache).topology
        for edits, chance in steps:
            changed = {path for what, text in edits for path in edit(folder, what, text)}
            now = load(folder, previous, cache, changed)
            check(now, load(folder, previous), previous)
            if chance == 0:  # Somebody rolls back.
                previous = first
            elif now.topology is not None and chance > 1:  # A topology whose tests fail is not taken.
                previous = now.topology


def test_a_file_that_nobody_said_has_changed_is_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, red="networks: {net: {}}\n", blue="networks: {net: {}}\n")
    cache = Cache()
    first = load(tmp_path, None, cache).topology
    write(tmp_path, red="networks: {n", blue="networks: {net: {}, more: {}}\n")
    second = load(tmp_path, first, cache, {tmp_path / "tenants" / "blue.yaml"})
    assert second.topology is not None
    assert list(second.topology.networks) == ["red/net", "blue/net", "blue/more"]
    assert second.tenants == frozenset({"blue"})


def test_a_line_more_changes_no_entity_but_its_place(tmp_path: Path) -> None:
    write(tmp_path, red="networks: {net: {}}\n", blue="networks: {net: {}}\n")
    cache = Cache()
    first = load(tmp_path, None, cache).topology
    write(tmp_path, red="# a line\nnetworks: {net: {}}\n", blue="networks: {net: {}}\n")
    loaded = load(tmp_path, first, cache)
    assert (loaded.topology, loaded.tenants) == (first, frozenset({"red"}))
    assert loaded.topology is not None
    assert loaded.topology.networks["red/net"].place.line == 2


def test_a_change_of_the_fabric_may_touch_anybody(tmp_path: Path) -> None:
    write(tmp_path, red="networks: {net: {}}\n")
    cache = Cache()
    first = load(tmp_path, None, cache).topology
    write(tmp_path, fabric=FABRIC + "mtu: 9000\n", red="networks: {net: {}}\n")
    assert load(tmp_path, first, cache, {tmp_path / "fabric.yaml"}).tenants is None


def after(folder: Path, before: Mapping[str, str], file: str, text: str) -> Loaded:
    """Return the load after one file of a good folder changed, checked against a load of everything."""
    write(folder, **before)
    cache = Cache()
    first = load(folder, None, cache).topology
    assert first is not None
    write(folder, **(dict(before) | {file: text}))
    path = folder / "fabric.yaml" if file == "fabric" else folder / "tenants" / f"{file}.yaml"
    now = load(folder, first, cache, {path})
    check(now, load(folder, first), first)
    return now


GROUPS = "security_groups: {{web: {{{}}}}}\naddress_groups: {{corp: {}}}\n"
WEB = GROUPS.format("share: blue", "{cidrs: 10.0.0.0/8, share: any}")
USER = """networks: {net: {}}
ports: {a: {network: net, security_groups: [red/web, own]}}
security_groups: {own: {ingress: [{from: [{group: red/web}, {address_group: red/corp}]}]}}
"""


def test_a_group_that_is_no_longer_shared_is_noticed_by_its_users(tmp_path: Path) -> None:
    loaded = after(tmp_path, {"red": WEB, "blue": USER}, "red", WEB.replace("share: blue", ""))
    assert [(each.code, Path(each.place.file).name, each.place.line) for each in loaded.errors] == [
        ("N042", "blue.yaml", 2),
        ("N042", "blue.yaml", 3),
    ]


def test_a_shared_group_that_becomes_stateless_is_noticed_by_its_users(tmp_path: Path) -> None:
    loaded = after(
        tmp_path, {"red": WEB, "blue": USER}, "red", "# a line\n" + WEB.replace("web: {", "web: {stateless: true, ")
    )
    (error,) = loaded.errors
    folder = tmp_path / "tenants"
    assert (error.code, error.message) == (
        "N029",
        "red/web is stateless and blue/own stateful: a port has groups of one kind",
    )
    assert error.hint == f"red/web at {folder}/red.yaml:2:19 and blue/own at {folder}/blue.yaml:3:19"


def test_what_a_shared_group_holds_is_its_owners_business(tmp_path: Path) -> None:
    changed = GROUPS.format("share: blue, ingress: any, log: true", "{cidrs: 192.0.2.7, share: any}")
    loaded = after(tmp_path, {"red": WEB, "blue": USER}, "red", changed)
    assert loaded.tenants == frozenset({"red"}), "nobody else's part is made anew"


def test_every_new_key_is_a_change(tmp_path: Path) -> None:
    before = "networks: {net: {}}\nports: {a: {network: net}}\nsecurity_groups: {default: {ingress: [{}]}}\n"
    plain = after(tmp_path, {"red": before}, "red", before + "# a line\n").topology
    for old, new in (
        ("network: net", "network: net, new_connections: 10/s"),
        ("network: net", "network: net, ethertypes: lldp"),
        ("{net: {}}\nports: {a: {network: net}}", "{net: {}, two: {}}\nports: {a: {network: net, trunk: {5: two}}}"),
        ("[{}]", "[{enforce: false}]"),
        ("[{}]", "[{log: true}]"),
        ("[{}]", "[{from: {address_group: corp}}]}}\naddress_groups: {corp: {"),
        ("[{}]", "[{}], enforce: false"),
        ("[{}]", "[{}], stateless: true"),
        ("[{}]", "[{}], log: true"),
        ("[{}]", "[{}], share: blue"),
    ):
        now = after(tmp_path, {"red": before}, "red", before.replace(old, new))
        assert now.topology is not None, now.problems
        assert (now.topology != plain, now.tenants) == (True, frozenset({"red"})), new
    limited = after(tmp_path, {"red": before}, "fabric", FABRIC.replace("red: {", "red: {connections: 10, "))
    assert limited.topology is not None
    assert (limited.topology != plain, limited.tenants) == (True, None)


def test_lists_that_mean_the_same_are_equal(tmp_path: Path) -> None:
    red = "networks: {{net: {{}}}}\nports: {{a: {{network: net, ethertypes: {}}}}}\naddress_groups: {{corp: {}}}\n"
    one = red.format("[lldp, ptp]", "{cidrs: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]}")
    other = red.format("[0x88f7, 35020]", "[192.0.2.7/32, 10.0.0.0/8, 'fd00:0::/8']")
    assert after(tmp_path, {}, "red", one).topology == after(tmp_path, {}, "red", other).topology
