"""What the keys of security groups mean: address groups, sharing, what is not enforced, limits and ethertypes."""

from __future__ import annotations

import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from controller.config.declared import declare
from controller.config.schema import TenantFile
from controller.config.source import Source
from controller.model.entities import EVERYBODY, Topology
from tests.config.folders import FABRIC, loaded


def topology(folder: Path, **files: str) -> Topology:
    result = loaded(folder, **files)
    assert result.topology is not None, result.problems
    return result.topology


def test_nothing_is_said_by_default(tmp_path: Path) -> None:
    made = topology(
        tmp_path, red="networks: {net: {}}\nports: {a: {network: net}}\nsecurity_groups: {default: {ingress: any}}\n"
    )
    group, port = made.groups["red/default"], made.ports["red/a"]
    assert (group.enforce, group.stateless, group.log, group.share) == (True, False, False, ())
    assert [(rule.addresses, rule.enforce, rule.log) for rule in group.ingress] == [((), True, False)]
    assert (port.new_connections, port.ethertypes, made.tenants["red"].connections) == (None, (), None)


def test_a_list_alone_may_stand_for_an_address_group(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        address_groups:
          corp: [192.0.2.7, 10.0.0.0/8, 'fd00::/8']
          one: 192.0.2.7
          lent: {cidrs: 192.0.2.7, share: [blue]}
          none:
        """,
    ).address_groups
    assert {name: list(map(str, each.prefixes)) for name, each in made.items()} == {
        "red/corp": ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"],
        "red/one": ["192.0.2.7/32"],
        "red/lent": ["192.0.2.7/32"],
        "red/none": [],
    }
    assert [each.share for each in made.values()] == [(), (), ("blue",), ()]
    assert (made["red/one"].tenant, made["red/one"].place.line) == ("red", 3)


def test_a_rule_may_name_all_kinds_of_far_sides(tmp_path: Path) -> None:
    made = topology(
        tmp_path,
        red="""
        address_groups: {corp: 10.0.0.0/8}
        security_groups:
          default:
            ingress:
              - {from: [{cidr: 192.0.2.7}, {group: default}, {address_group: corp}, {address_group: red/corp}]}
              - {from: {address_group: corp}, log: true}
            egress: [{protocol: tcp, to: {address_group: corp}, enforce: false}]
        """,
    ).groups["red/default"]
    mixed, alone = made.ingress
    assert (mixed.cidrs, mixed.groups, mixed.addresses) == ((ip_network("192.0.2.7"),), ("red/default",), ("red/corp",))
    assert (mixed.ethertype, alone.ethertype) == (None, None), "a list may have addresses of both versions"
    assert (alone.addresses, alone.is_from_anyone, alone.log, alone.enforce) == (("red/corp",), False, True, True)
    assert [(rule.addresses, rule.enforce) for rule in made.egress] == [(("red/corp",), False)]


LENT = """
security_groups: {web: {share: [blue]}, app: {share: any, log: true}, own: {ingress: [{from: {group: own}}]}}
address_groups: {corp: {cidrs: 10.0.0.0/8, share: any}}
"""


def test_what_is_shared_can_be_named_and_joined(tmp_path: Path) -> None:
    blue = """
    networks: {net: {}}
    security_groups: {in: {ingress: [{from: [{group: red/web}, {address_group: red/corp}]}]}}
    port_groups: {all: {network: net, security_groups: [red/app, in]}}
    ports: {a: {network: net, security_groups: [red/web, default]}, b: {port_group: all}}
    """
    made = topology(tmp_path, red=LENT, blue=blue)
    assert (made.groups["red/web"].share, made.groups["red/app"].share) == (("blue",), (EVERYBODY,))
    assert made.ports["blue/a"].groups == ("red/web", "blue/default")
    assert made.ports["blue/b"].groups == ("red/app", "blue/in")
    (rule,) = made.groups["blue/in"].ingress
    assert (rule.groups, rule.addresses) == (("red/web",), ("red/corp",))


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("group: red/own", "red shares it with `share: blue`"),
        ("group: red/nothing", "red shares it with `share: blue`"),
        ("group: red/default", "red shares it with `share: blue`"),
        ("address_group: red/own", "red shares it with `share: blue`"),
    ],
)
def test_whether_a_group_exists_is_its_owners_business(tmp_path: Path, key: str, hint: str) -> None:
    (problem,) = loaded(
        tmp_path, red=LENT, blue=f"security_groups: {{default: {{ingress: [{{from: {{{key}}}}}]}}}}\n"
    ).errors
    assert (problem.code, problem.hint) == ("N042", hint)
    assert problem.message.endswith("is not shared with blue")


def test_a_group_is_shared_with_those_it_names_alone(tmp_path: Path) -> None:
    fabric = FABRIC + "  green: {segments: 1200}\n"
    user = "networks: {net: {}}\nports: {a: {network: net, security_groups: red/web}}\n"
    result = loaded(tmp_path, fabric=fabric, red=LENT, blue=user, green=user)
    assert [(each.code, Path(each.place.file).stem) for each in result.errors] == [("N042", "green")]


def test_nobody_is_blamed_for_naming_a_group_that_was_refused(tmp_path: Path) -> None:
    red = "security_groups: {web: {share: blue, stateless: x}, app: {share: 7}}\naddress_groups: {corp: {cidrs: x, share: blue}}\n"
    blue = "security_groups: {default: {ingress: [{from: [{group: red/web}, {group: red/app}, {address_group: red/corp}]}]}}\n"
    assert [each.code for each in loaded(tmp_path, red=red, blue=blue).errors] == ["N020", "N019", "N023"]


def test_a_foreign_group_of_the_same_name_is_no_use_of_the_own(tmp_path: Path) -> None:
    blue = "security_groups: {web: {}}\nport_groups: {all: {security_groups: red/web}}\n"
    assert [each.code for each in loaded(tmp_path, red=LENT, blue=blue).problems] == ["W001"]


def test_a_port_says_or_takes_from_its_port_group(tmp_path: Path) -> None:
    ports = topology(
        tmp_path,
        fabric=FABRIC.replace("red: {", "red: {connections: 100000, "),
        red="""
        networks: {net: {}}
        port_groups: {phone: {network: net, new_connections: 100/s, ethertypes: [lldp, 0x8892, '34958', 0x88CC]}}
        ports: {a: {port_group: phone}, b: {port_group: phone, new_connections: 7, ethertypes: []}}
        """,
    )
    assert (ports.ports["red/a"].new_connections, ports.ports["red/a"].ethertypes) == (100, (0x888E, 0x8892, 0x88CC))
    assert (ports.ports["red/b"].new_connections, ports.ports["red/b"].ethertypes) == (7, ())
    assert ports.tenants["red"].connections == 100_000


@pytest.mark.parametrize(
    ("first", "second", "is_idle"),
    [
        ("protocol: tcp", "protocol: tcp, ports: 80", True),
        ("protocol: tcp, enforce: false", "protocol: tcp, ports: 80", False),
        ("protocol: tcp, enforce: false", "protocol: tcp", False),
        ("protocol: tcp, enforce: false", "protocol: tcp, enforce: false", True),
        ("protocol: tcp", "protocol: tcp, log: true", False),
        ("protocol: tcp, log: true", "protocol: tcp, ports: 80", True),
        ("from: {address_group: corp}", "from: {address_group: corp}, protocol: tcp", True),
        ("from: {cidr: 10.0.0.0/8}", "from: {address_group: corp}, protocol: tcp", False),
        ("from: [{cidr: 10.0.0.0/8}, {address_group: corp}]", "from: {cidr: 10.1.0.0/16}", True),
        ("from: {address_group: corp}", "from: [{address_group: corp}, {cidr: 10.1.0.0/16}]", False),
    ],
)
def test_a_rule_covers_another_only_if_it_does_as_much(tmp_path: Path, first: str, second: str, is_idle: bool) -> None:
    groups = f"security_groups: {{default: {{ingress: [{{{first}}}, {{{second}}}]}}}}\n"
    uses = "  more: {egress: [{to: {address_group: corp}}], ingress: [{from: {group: more}}]}\n"
    text = groups.replace("}}\n", "},\n") + uses.rstrip() + "}\naddress_groups: {corp: 10.0.0.0/8}\n"
    assert [each.code for each in loaded(tmp_path, red=text).problems] == (["W002"] if is_idle else [])


def test_a_dry_group_that_is_alone_somewhere_changes_something(tmp_path: Path) -> None:
    red = """
    networks: {net: {}}
    security_groups: {new: {enforce: false}}
    ports: {a: {network: net, security_groups: [default, new]}, b: {network: net, security_groups: new}}
    """
    assert loaded(tmp_path, red=red).problems == ()


def test_thousands_of_addresses_are_quick() -> None:
    addresses = [f"10.{number // 250}.{number % 250}.{bit}/32" for number in range(2500) for bit in (1, 129)]
    text = "address_groups:\n  corp:\n" + "".join(f"    - {each}\n" for each in addresses)
    source = Source("red.yaml", text)
    source.parsed()
    started = time.process_time()
    content = declare(TenantFile, source, {}).content
    elapsed = time.process_time() - started
    assert len(content.address_groups["corp"].cidrs) == 5000
    assert elapsed < 0.5, f"{elapsed:.3f} s for 5,000 addresses, beyond their YAML"
