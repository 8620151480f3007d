from __future__ import annotations

import doctest
from types import ModuleType

import pytest

from controller.model import address, entities, ids, names


@pytest.mark.parametrize("module", [address, entities, ids, names])
def test_the_examples_in_the_docstrings_hold(module: ModuleType) -> None:
    assert doctest.testmod(module).failed == 0


def test_a_short_name_is_its_interface() -> None:
    assert names.interface_name("red/web1") == "red.web1"


def test_long_names_are_shortened_and_stay_apart() -> None:
    first, second = names.interface_name("engineering/frontend-1"), names.interface_name("engineering/frontend-2")
    assert first != second
    assert max(len(first), len(second)) <= names.INTERFACE_LENGTH


def test_two_tenants_and_ports_that_look_alike_joined_have_interfaces_of_their_own() -> None:
    assert names.interface_name("a-b/c") != names.interface_name("a/b-c")


def test_patch_ports_of_long_physical_networks_fit() -> None:
    name = "datacentre-core-network-1"
    ends = {names.patch_to_physical(name), names.patch_from_physical(name)}
    assert len(ends) == 2
    assert max(map(len, ends)) <= names.INTERFACE_LENGTH


def test_a_port_without_a_mac_gets_a_local_unicast_one() -> None:
    mac = address.derived_mac("red/web1")
    assert mac >> 40 & 3 == 2
