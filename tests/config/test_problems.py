"""Each kind of problem once or more: the code, and the exact place and length of the offending text."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config import CODES, load
from tests.config import cases_of_routers as routers
from tests.config.cases import FABRIC_CASES, TENANT_CASES
from tests.config.folders import codes, loaded, write


@pytest.mark.parametrize(("code", "text"), [*FABRIC_CASES, *routers.FABRIC_CASES])
def test_fabric_problem(tmp_path: Path, code: str, text: str) -> None:
    expect_one(tmp_path, "fabric", code, fabric=text)


@pytest.mark.parametrize(("code", "text"), [*TENANT_CASES, *routers.TENANT_CASES])
def test_tenant_problem(tmp_path: Path, code: str, text: str) -> None:
    expect_one(tmp_path, "red", code, red=text)


def expect_one(folder: Path, file: str, code: str, **files: str) -> None:
    marks = write(folder, **files)
    result = load(folder)
    assert codes(result) == [code], result.problems
    problem = result.problems[0]
    assert (problem.place.line, problem.place.column, problem.length) == marks[file], problem
    assert problem.is_warning == code.startswith("W")
    assert (result.topology is None) == code.startswith("N")
    lines = (folder / problem.place.file).read_text(encoding="utf-8").splitlines()
    assert problem.source == lines[problem.place.line - 1]


def test_every_code_has_a_case() -> None:
    # Those need more than one file: they are below, in test_hostile.py and in test_full_disk.py.
    elsewhere = {"N044", "N001", "N002", "N003", "N004", "N005", "N006", "N007", "W003", "W006"}
    cases = (*FABRIC_CASES, *TENANT_CASES, *routers.FABRIC_CASES, *routers.TENANT_CASES)
    assert {code for code, _ in cases} | elsewhere == set(CODES)


def test_all_problems_are_reported_in_one_run(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="""
        networks:
          web: {cidr: 10.0.1.5/24}
          db: {cidr: 10.0.2.0/24, segment: 5}
        security_groups:
          web: {ingress: [{protocol: tcp, ports: 90-80, from: {group: wbe}}]}
        ports:
          a: {network: wbe, mac: nonsense}
          b: {network: db, ip: 10.0.3.1, host: hv9}
        """,
        blue="networks: [",
    )
    assert codes(result) == ["N024", "N040", "N021", "N014", "N014", "N025", "N050", "N014", "N010"]


def test_what_refers_to_a_refused_entry_is_not_blamed(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="""
        networks: {web: {cidr: nonsense}}
        security_groups: {web: {ingress: nonsense}}
        ports: {a: {network: web, security_groups: [web]}}
        tests: [{from: a, to: blue/b, expect: deny}]
        """,
        blue="ports: [",
    )
    assert codes(result) == ["N023", "N018", "N010"]


def test_what_refers_to_a_refused_tenant_is_not_blamed(tmp_path: Path) -> None:
    fabric = "fabric: f\ntenants: {red: {segments: 9-5}, blue: {segments: 20}}\n"
    blue = "networks: {net: {}}\nports: {a: {network: net}, b: {network: red/net}}\ntests: [{from: a, to: red/a, expect: deny}]\n"
    result = loaded(tmp_path, fabric=fabric, red="networks: {net: {share: blue, cidr: x}}\n", blue=blue)
    assert sorted(codes(result)) == ["N021", "N023"]


def test_no_tenant_is_a_stranger_where_the_tenants_cannot_be_read(tmp_path: Path) -> None:
    assert codes(loaded(tmp_path, fabric="fabric: f\ntenants: [red]\n", red="networks: {}\n")) == ["N018"]


def test_a_refused_test_does_not_shift_the_places_of_others(tmp_path: Path) -> None:
    result = loaded(tmp_path, red="tests:\n- {from: a}\n- {from: b, to: 10.0.0.9, expect: deny}\n")
    assert [(problem.code, problem.place.line) for problem in result.problems] == [
        ("N017", 2),
        ("N017", 2),
        ("N014", 3),
    ]


def test_a_wrong_name_in_a_port_group_is_reported_once(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="""
        networks: {net: {}}
        port_groups: {web: {network: nte, security_groups: [wbe], host: hv9}}
        ports: {a: {port_group: web}, b: {port_group: web}}
        """,
    )
    assert codes(result) == ["N014", "N014", "N014"]


def test_only_a_hundred_problems_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    lines = "".join(f"  p{number}: {{network: nowhere}}\n" for number in range(250))
    result = loaded(tmp_path, red=f"ports:\n{lines}")
    assert len(result.problems) == 100
    assert result.left_out == 150


def test_warnings_do_not_push_errors_out(tmp_path: Path) -> None:
    groups = "".join(f"  g{number}: {{}}\n" for number in range(120))
    result = loaded(tmp_path, red=f"security_groups:\n{groups}ports:\n  a: {{network: nowhere}}\n")
    assert [problem.code for problem in result.problems if not problem.is_warning] == ["N014"]
    assert (len(result.problems), result.left_out) == (100, 21)


def test_problems_stand_in_the_order_of_the_files(tmp_path: Path) -> None:
    result = loaded(tmp_path, red="oops: 1", blue="oops: 1\nnetworks: {w: {cidr: x}}")
    places = [(Path(problem.place.file).name, problem.place.line) for problem in result.problems]
    assert places == [("red.yaml", 1), ("blue.yaml", 1), ("blue.yaml", 2)]


ONE_HOST = "fabric: test\nhosts: {hv1: {tunnel_ip: 172.31.0.1}}\n"


def test_a_quota_of_ports(tmp_path: Path) -> None:
    fabric = ONE_HOST + "tenants: {red: {segments: 1000, ports: 1}}\n"
    red = "networks: {net: {}}\nports: {a: {network: net}, «b»: {network: net}}\n"
    expect_one(tmp_path, "red", "N044", fabric=fabric, red=red)


def test_a_quota_of_ports_counts_subports(tmp_path: Path) -> None:
    fabric = ONE_HOST + "tenants: {red: {segments: 1000-1001, ports: 3}}\n"
    red = "networks: {net: {}, two: {}}\nports: {a: {network: net, trunk: {5: two}}, b: {network: net}"
    assert loaded(tmp_path, fabric=fabric, red=red + "}\n").topology
    expect_one(tmp_path, "red", "N044", fabric=fabric, red=red + ", «c»: {network: net, trunk: {5: two}}}\n")


def test_a_quota_of_rules_counts_what_the_file_says(tmp_path: Path) -> None:
    fabric = ONE_HOST + "tenants: {red: {segments: 1000, rules: 2}}\n"
    red = "networks: {net: {}}\nports: {a: {network: net, security_groups: [web, db]}}\nsecurity_groups:\n"
    rules = "[{protocol: tcp, ports: 1}, {protocol: tcp, ports: 2}]"
    assert loaded(tmp_path, fabric=fabric, red=f"{red}  web: {{ingress: {rules}}}\n  db: {{}}\n").topology
    expect_one(
        tmp_path, "red", "N044", fabric=fabric, red=f"{red}  web: {{ingress: {rules}}}\n  «db»: {{ingress: any}}\n"
    )


def test_ipv6_needs_an_mtu_of_1280(tmp_path: Path) -> None:
    fabric = ONE_HOST + "mtu: 1320\ntenants: {red: {segments: 1000}}\n"
    expect_one(tmp_path, "red", "N054", fabric=fabric, red="networks: {net: {cidr: «'fd00::/64'»}}\n")


def test_a_grant_that_is_used_up(tmp_path: Path) -> None:
    fabric = ONE_HOST + "tenants: {red: {segments: 1000-1001}}\n"
    expect_one(tmp_path, "red", "N043", fabric=fabric, red="networks: {a: {}, b: {segment: 1000}, «c»: {}}\n")


def test_a_flat_network_has_one_owner(tmp_path: Path) -> None:
    fabric = (
        ONE_HOST + "physical_networks: {p: {hosts: hv1}}\ntenants: {red: {vlans: {p: []}}, blue: {vlans: {p: []}}}\n"
    )
    flat = "networks: {net: {type: flat, physical_network: p}}\n"
    expect_one(
        tmp_path, "blue", "N034", fabric=fabric, red=flat, blue="networks: {net: {type: flat, physical_network: «p»}}\n"
    )


def test_a_hint_names_the_nearest_right_name_and_where_it_is(tmp_path: Path) -> None:
    result = loaded(tmp_path, red="networks:\n  web: {}\nports:\n  a: {network: wbe}\n")
    assert result.problems[0].hint == f'did you mean "web"? ({tmp_path}/tenants/red.yaml:2:3)'


def test_a_hint_names_the_letter_that_only_looks_right(tmp_path: Path) -> None:
    result = loaded(tmp_path, red="networks: {wеb: {}}\n")  # noqa: RUF001
    assert result.problems[0].hint == "it holds U+0435 CYRILLIC SMALL LETTER IE"


def test_a_hint_says_where_only_the_own_is_meant(tmp_path: Path) -> None:
    result = loaded(tmp_path, red="networks: {web: {cidr: 10.0.1.0/24}}\nrouters: {main: {networks: [red/web]}}\n")
    assert result.problems[0].hint == "it is always the tenant's own here: write web"


def test_a_hint_says_how_everywhere_is_written(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="networks: {web: {cidr: 10.0.1.0/24}}\nrouters: {main: {networks: web, routes: [{to: default, via: 10.0.1.5}]}}\n",
    )
    assert result.problems[0].hint == "everywhere is 0.0.0.0/0, and ::/0 for IPv6"


def test_a_clash_names_both_places(tmp_path: Path) -> None:
    result = loaded(
        tmp_path,
        red="networks: {net: {cidr: 10.0.1.0/24}}\nports:\n  a: {network: net, ip: 10.0.1.5}\n  b: {network: net, ip: 10.0.1.5}\n",
    )
    assert result.problems[0].place.line == 4
    assert result.problems[0].hint == f"the other is at {tmp_path}/tenants/red.yaml:3:25"
