"""A tenant's part after an edit, from its part before: ports whose entries are the same are taken over.

This is for edits of ports, groups, address groups, routers and floating IPs of a tenant that shares no networks, where nothing was wrong
and nothing comes to be: then a port depends on its own entry alone, and on what others have in its network. Floating IPs are made anew
each time, as their ports may have other addresses. Whatever else was edited, whatever is in doubt and whatever is wrong is left to
`build_parts`, which makes the whole part anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from operator import attrgetter

from controller.config.addresses import address_ports, kept_addresses
from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.groups import GroupContext
from controller.config.ports import Draft, GroupsOf, PortContext, draft_port, names_of
from controller.config.problem import Problems
from controller.config.routers import SECTION as ROUTERS
from controller.config.routers import RouterContext
from controller.config.schema import TenantFile
from controller.config.shared import ADDRESS_GROUPS, GROUPS, Loan, Others, still_holds
from controller.config.source import Reporter
from controller.config.tenant import (
    Filters,
    Keys,
    Part,
    build_filters,
    entities_of,
    key_of_group,
    keys_of_port,
    make_part,
)
from controller.config.ways import Ways, build_ways, routers_of
from controller.model.entities import Address, AllowedAddress, Network, Place, Port, Topology


@dataclass(frozen=True, slots=True)
class _Edit:
    """The part before, and what the file declares now."""

    before: Part
    fabric: Fabric
    declared: Declared[TenantFile]
    previous: Topology
    others: Others
    loan: Loan

    @property
    def old(self) -> TenantFile:
        """What the file said."""
        return self.before.declared.content

    @property
    def new(self) -> TenantFile:
        """What the file says."""
        return self.declared.content

    def context(self) -> GroupContext:
        """Return what groups are built from, with problems of their own."""
        tenant = self.fabric.tenants[self.before.tenant]
        return GroupContext(self.fabric, tenant, self.declared, self.loan, Reporter(Problems()))


def amend_part(
    before: Part, fabric: Fabric, declared: Declared[TenantFile], previous: Topology | None, others: Others
) -> Part | None:
    """Return what would be built of the file after this topology; None where that takes more than the part `before`."""
    entities = entities_of(previous, before.tenant)
    if previous is None or entities[0] is not before.networks or entities[1] is not before.ports:
        return None
    edit = _Edit(before, fabric, declared, previous, others, Loan(before.tenant, others))
    if not _is_simple(edit) or not still_holds(before.told, before.tenant, others):
        return None
    edit.loan.told.update(before.told)
    networks = _networks(edit)
    ports = _ports(edit, networks)
    if ports is None:
        return None
    filters = before.filters if _stand(edit, GROUPS, ADDRESS_GROUPS) else build_filters(edit.context())
    keys = _keys(before, filters, ports)
    if keys is None:
        return None
    context = edit.context()
    ways = _ways(edit, networks, ports, context.reporter)
    part = make_part(context, entities, networks, ports, ways, filters=filters, keys=keys)
    return None if part.problems.has_errors else part


def _is_simple(edit: _Edit) -> bool:
    """Whether nothing was wrong, and what all ports depend on is as it was."""
    before, old, new = edit.before, edit.old, edit.new
    return (
        before.fabric is edit.fabric.declared
        and before.declared.is_clean
        and edit.declared.is_clean
        and not before.problems.has_errors
        and not before.sharers
        and len(before.ports) == sum(1 + len(port.trunk) for port in old.ports.values())
        and _is_same(new.networks, old.networks)
        and _is_same(new.port_groups, old.port_groups)
        and _stateless(new) == _stateless(old)
        and _used(edit).isdisjoint(old.security_groups.keys() - new.security_groups.keys())
    )


def _is_same(new: Mapping[str, object], old: Mapping[str, object]) -> bool:
    """Whether a section holds what it held: an amended file has the same object then."""
    return new is old or (not new and not old)


def _used(edit: _Edit) -> set[str]:
    """Return the tenant's groups that its ports and port groups name, if a group is gone."""
    old, new, prefix = edit.old, edit.new, f"{edit.before.tenant}/"
    if old.security_groups.keys() <= new.security_groups.keys():
        return set()
    named = {name for groups in {port.groups for port in edit.before.ports.values()} for name in groups}
    named.update(name for each in old.port_groups.values() for name in each.security_groups or ())
    return {name.removeprefix(prefix) for name in named}


def _stateless(content: TenantFile) -> set[str]:
    return {name for name, each in content.security_groups.items() if each.stateless}


def _networks(edit: _Edit) -> Mapping[str, Network]:
    """Return the networks, where they stand now."""
    before = edit.before.networks
    if _stand(edit, "networks"):
        return before
    places = {name: edit.declared.place("networks", name.partition("/")[2]) for name in before}
    return {name: replace(network, place=places[name]) for name, network in before.items()}


def _ways(edit: _Edit, networks: Mapping[str, Network], ports: Mapping[str, Port], reporter: Reporter) -> Ways:
    """Return the routers, where they stand now, and the floating IPs, which depend on the ports' addresses."""
    tenant = edit.fabric.tenants[edit.before.tenant]
    context = RouterContext(edit.fabric, tenant, edit.declared, networks, reporter)
    # What they were warned of is to be said again.
    is_same = networks is edit.before.networks and not edit.before.problems.warnings and _stand(edit, ROUTERS)
    return build_ways(context, ports, edit.before.ways.routers if is_same else routers_of(context))


def _stand(edit: _Edit, *sections: str) -> bool:
    """Whether sections are what they were, and every word of them where it was."""
    new, old = edit.declared.source.outline, edit.before.declared.source.outline
    if new is None or old is None:
        return False
    return all(new.sections.get(each) == old.sections.get(each) for each in sections)


def _ports(edit: _Edit, networks: Mapping[str, Network]) -> Mapping[str, Port] | None:
    """Return the ports in the file's order, None if something is wrong with those that are new."""
    tenant, before, old, new = edit.before.tenant, edit.before.ports, edit.old.ports, edit.new.ports
    changed = [] if new is old else [name for name, each in new.items() if old.get(name) is not each]
    fresh = _fresh(edit, networks, changed)
    if fresh is None:
        return None
    places = edit.declared.places
    found: dict[str, Port] = {}
    is_same = new is old
    for name, each in new.items():
        for qualified in names_of(tenant, name, each):
            port = fresh.get(qualified)
            if port is None:
                port = before[qualified]
                place = places["ports", name]
                if port.place is not place and port.place != place:
                    is_same = False
                    port = _with_place(port, place)
            found[qualified] = port
    return before if is_same else found


def _fresh(edit: _Edit, networks: Mapping[str, Network], changed: list[str]) -> Mapping[str, Port] | None:
    """Return the ports whose entries are new, with their addresses, None if something is wrong with them."""
    tenant, problems = edit.before.tenant, Problems()
    context = PortContext(
        edit.fabric, edit.fabric.tenants[tenant], edit.declared, networks, edit.others, edit.loan, Reporter(problems)
    )
    groups_of: GroupsOf = {}
    drafts: dict[str, list[Draft]] = {}
    for name in changed:
        port = edit.new.ports[name]
        own = draft_port(context, name, port, groups_of)
        if len(own) < 1 + len(port.trunk) or not problems.is_empty:
            return None
        for draft in own:
            drafts.setdefault(draft.network.name, []).append(draft)
    new, old = edit.new.ports, edit.old.ports
    entries = (name for name, each in old.items() for _ in range(1 + len(each.trunk)))
    staying = [
        each
        for each, name in zip(edit.before.ports.values(), entries, strict=True)
        if each.network in drafts and new.get(name) is old[name]
    ]
    found: dict[str, Port] = {}
    for name, members in drafts.items():
        ports = _addressed(edit, networks[name], members, [port for port in staying if port.network == name])
        if ports is None:
            return None
        found |= ports
    return found


def _addressed(edit: _Edit, network: Network, drafts: list[Draft], staying: list[Port]) -> Mapping[str, Port] | None:
    """Return new ports of a network in which others stay, None if they want what those have, or would get what was theirs."""
    macs = {port.mac for port in staying}
    taken = {address for port in staying for address in port.ips}
    wanted = {address for draft in drafts for address in draft.given or ()}
    for draft in drafts:
        wanted.update(_single(draft.allowed))
    for cidr in network.cidrs:
        names = (draft.name for draft in drafts if draft.given is None)
        wanted.update(kept_addresses(names, edit.previous.ports, cidr).values())
    if not taken.isdisjoint(wanted) or any(draft.mac in macs for draft in drafts):
        return None
    for port in staying:
        if port.allowed:
            taken.update(_single(port.allowed))
    problems = Problems()
    home = edit.declared.spot("networks", network.name.partition("/")[2])
    ports = address_ports(network, drafts, edit.previous.ports, home, Reporter(problems), taken)
    return {port.name: port for port in ports} if problems.is_empty else None


def _keys(before: Part, filters: Filters, ports: Mapping[str, Port]) -> Keys | None:
    """Return the numbers and interface names of all names, None if two have the same."""
    groups, old_groups, old_ports = filters.groups.keys(), before.filters.groups.keys(), before.ports.keys()
    if groups == old_groups and ports.keys() == old_ports:
        return before.keys
    keys = dict(before.keys)
    for name in old_groups - groups:
        del keys[key_of_group(name)]
    for name in old_ports - ports.keys():
        for key in keys_of_port(name):
            del keys[key]
    new = [(key_of_group(name), name) for name in groups - old_groups]
    new += [(key, name) for name in ports.keys() - old_ports for key in keys_of_port(name)]
    return None if any(keys.setdefault(key, name) != name for key, name in new) else keys


def _single(allowed: Iterable[AllowedAddress]) -> list[Address]:
    """Return the further addresses that are one each."""
    return [each.ip.network_address for each in allowed if each.ip.num_addresses == 1]


_PORT_FIELDS = [field.name for field in fields(Port)]
_PLACE = _PORT_FIELDS.index("place")
_values = attrgetter(*_PORT_FIELDS)


def _with_place(port: Port, place: Place) -> Port:
    # As `replace` does it, which takes three times as long; a line more at the top of a file moves all ports of a tenant.
    values = list(_values(port))
    values[_PLACE] = place
    return Port(*values)
