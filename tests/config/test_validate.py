"""`weft validate` and `weft schema`, as a user calls them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from controller.cli.schema import command as schema
from controller.cli.validate import command as validate
from tests.config.folders import write

ROOT = Path(__file__).parents[2]
TWO_PORTS = "networks: {net: {cidr: 10.0.1.0/24}}\nports: {a: {network: net}, b: {network: net}}\n"


def test_a_fine_topology(tmp_path: Path) -> None:
    write(tmp_path, red=TWO_PORTS + "tests: [{from: a, to: b, expect: allow}]\n")
    result = CliRunner().invoke(validate, [str(tmp_path)])
    assert result.exit_code == 0
    assert re.fullmatch(r"fine: 2 tenants, 3 hosts, 1 network, 2 ports; 1 test passed \(\d+ ms\)\n", result.output)


def test_a_refused_topology(tmp_path: Path) -> None:
    write(tmp_path, red=TWO_PORTS + "security_groups: {web: {}}\nmirrors: {}\nqos: {}\n")
    result = CliRunner().invoke(validate, [str(tmp_path)])
    assert result.exit_code == 2
    assert f"{tmp_path}/tenants/red.yaml:4:1: error[N016]" in result.output
    assert re.search(r"^2 errors, 1 warning in 2 files \(\d+ ms\)$", result.output, re.MULTILINE)


def test_a_failed_test(tmp_path: Path) -> None:
    write(tmp_path, red=TWO_PORTS + "tests:\n  - {from: a, to: b, protocol: tcp, port: 22, expect: deny}\n")
    result = CliRunner().invoke(validate, [str(tmp_path)])
    assert result.exit_code == 1
    assert f"{tmp_path}/tenants/red.yaml:4:5: test failed: red/a -> red/b tcp/22, expected deny" in result.output
    assert "1 failed test in 2 files" in result.output


def test_json_for_programs(tmp_path: Path) -> None:
    write(tmp_path, red=TWO_PORTS + "mirrors: {}\n")
    result = CliRunner().invoke(validate, [str(tmp_path), "-o", "json"])
    answer = json.loads(result.output)
    assert result.exit_code == 2
    assert answer["fine"] is False
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"], problem["line"], problem["column"]) == ("N016", "error", 3, 1)


def test_what_is_not_shown_is_counted(tmp_path: Path) -> None:
    ports = "".join(f"  p{number}: {{network: nowhere}}\n" for number in range(130))
    write(tmp_path, red=f"ports:\n{ports}")
    result = CliRunner().invoke(validate, [str(tmp_path)])
    assert "\nand 30 more\n" in result.output
    assert "100 errors, 30 more not shown" in result.output


def test_the_schema_of_one_file_or_of_both() -> None:
    both = json.loads(CliRunner().invoke(schema, []).output)
    tenant = json.loads(CliRunner().invoke(schema, ["tenant"]).output)
    assert len(both["anyOf"]) == 2
    assert tenant["$ref"] == "#/$defs/TenantFile"


def test_validate_imports_nothing_heavy() -> None:
    # What a verb imports is most of what its user waits for.
    program = (
        "import sys; from click.testing import CliRunner; from controller.cli.validate import command; "
        "assert CliRunner().invoke(command, ['topologies/quickstart']).exit_code == 0; "
        "print(sorted({'os_ken', 'networkx', 'rich', 'jsonschema', 'socketserver'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
