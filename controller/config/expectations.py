"""The `tests:` of tenants: names resolved, so that they can be asked of any topology."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.groups import WITH_PORTS
from controller.config.problem import Problems
from controller.config.scalars import protocol_name
from controller.config.schema import Port, TenantFile, Test
from controller.config.schema_fabric import FabricFile
from controller.config.source import Reporter, Spot
from controller.model.entities import PolicyTest


@dataclass(frozen=True, slots=True)
class ExpectationContext:
    """What a tenant's tests are read from. `hides_port` says of a port that nothing is known of it."""

    fabric: Fabric
    tenant: str
    declared: Declared[TenantFile]
    ports: Callable[[str], Mapping[str, Port]]  # A tenant -> its ports, by their names without the tenant's.
    hides_port: Callable[[str, str], bool]
    reporter: Reporter


@dataclass(frozen=True, slots=True)
class Expectations:
    """A tenant's tests, what is wrong with them, and what they were read from: `named` holds what other tenants declare."""

    fabric: Declared[FabricFile]
    declared: Declared[TenantFile]
    named: Mapping[str, Declared[TenantFile] | None]
    tests: tuple[PolicyTest, ...]
    problems: Problems

    def is_from(
        self, fabric: Fabric, declared: Declared[TenantFile], tenants: Mapping[str, Declared[TenantFile]]
    ) -> bool:
        """Whether the tests were read from exactly these files."""
        return (
            self.fabric is fabric.declared
            and self.declared is declared
            and all(tenants.get(name) is each for name, each in self.named.items())
        )


def describe(test: PolicyTest) -> str:
    """Return a test in one line: `red/web1 -> red/db1 tcp/3306, expected allow`."""
    port = "" if test.port is None else f"/{test.port}"
    return f"{test.source} -> {test.target} {protocol_name(test.protocol)}{port}, expected {test.expect}"


def tell_failure(test: PolicyTest, explanation: str) -> str:
    """Return what people read of a test that does not hold: its place, what it expects, and why it is not so."""
    return f"{test.place}: test failed: {describe(test)}\n    {explanation}"


def build_tests(context: ExpectationContext) -> list[PolicyTest]:
    """Return the tenant's tests in the file's order, and report what is wrong with them."""
    numbered = zip(context.declared.tests, context.declared.content.tests, strict=True)
    return [_test(context, number, each) for number, each in numbered]


def _test(context: ExpectationContext, number: int, each: Test) -> PolicyTest:
    spot = context.declared.spot("tests", number)
    if each.port is not None and each.protocol not in WITH_PORTS:
        message = f"protocol {protocol_name(each.protocol)} has no ports"
        context.reporter.report("N026", (spot / "port").key, message, "ports go with tcp, udp and sctp")
    if _is_address(each.source) and _is_address(each.target):
        message = "`from` and `to` are both addresses, and a test is about a port"
        context.reporter.report("N026", spot / "to", message, "name the port that sends or receives")
    return PolicyTest(
        tenant=context.tenant,
        source=_end(context, spot / "from", each.source),
        target=_end(context, spot / "to", each.target),
        protocol=each.protocol,
        port=each.port,
        expect=each.expect,
        reply=each.reply,
        place=context.declared.place("tests", number),
    )


def named_tenants(declared: Declared[TenantFile]) -> frozenset[str]:
    """Return the other tenants that a file's tests name."""
    ends = (end for test in declared.content.tests for end in (test.source, test.target))
    return frozenset(end.rpartition("/")[0] for end in ends if "/" in end)


def _is_address(end: str) -> bool:
    # A subport has one colon in its name, an IPv6 address two at least.
    return "." in end or end.count(":") > 1


def _end(context: ExpectationContext, spot: Spot, end: str) -> str:
    return end if _is_address(end) else _port(context, spot, end)


def _port(context: ExpectationContext, spot: Spot, reference: str) -> str:
    """Return the qualified name of a port, or report that there is none such."""
    owner, _, name = reference.rpartition("/")
    owner = owner or context.tenant
    qualified = f"{owner}/{name}"
    name, _, vlan = name.partition(":")
    ports = context.ports(owner)
    port = ports.get(name)
    if (port is not None and (not vlan or int(vlan) in port.trunk)) or context.hides_port(owner, name):
        return qualified
    fabric = context.fabric
    if not fabric.knows("tenants", owner):
        context.reporter.unknown("tenant", spot, owner, fabric.tenants, fabric.declared.spot("tenants"))
    elif "/" in reference or vlan:
        # What is suggested takes the place of all that was written.
        before = f"{owner}/" if "/" in reference else ""
        known = [name] if port is not None and port.trunk else ports
        near = (f"{before}{each}:{tag}" for each in known for tag in ports[each].trunk)
        kind = "subport" if vlan else "port"
        context.reporter.unknown(kind, spot, reference, near if vlan else map(before.__add__, ports))
    else:
        context.reporter.unknown("port", spot, name, ports, context.declared.spot("ports"))
    return qualified
