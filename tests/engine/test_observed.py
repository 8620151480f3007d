"""Where ports are, as interfaces come, go, move, and as switches and controllers are lost and come back."""

from __future__ import annotations

from dataclasses import replace

from controller.model.entities import Topology
from controller.model.names import NOBODY
from controller.observed import Observed
from tests.lab.small import small

WEB1, WEB2 = "blue.web1", "blue.web2"  # Ports of the small fabric that no file pins to a host.


def tell(observed: Observed, host: str, **ports: int) -> set[str]:
    """Let a host's br-int tell its ports: `red_web1=5` is the interface red.web1 with number 5."""
    named = {name.replace("_", "."): number for name, number in ports.items()}
    return observed.update(host, "br-int", named, is_integration=True)


def two_hosts(first: str = "hv1", second: str = "hv2") -> Observed:
    """Two hosts that are there, without ports."""
    observed = Observed()
    tell(observed, first)
    tell(observed, second)
    return observed


def refused(observed: Observed, topology: Topology | None = None) -> list[str]:
    return observed.misplaced(topology or small())


def test_an_interface_is_told_when_it_comes_goes_or_changes_its_number() -> None:
    observed = two_hosts()
    assert tell(observed, "hv1", blue_web1=5, blue_web2=6) == {WEB1, WEB2}
    assert tell(observed, "hv1", blue_web1=5, blue_web2=7) == {WEB2}
    assert observed.number("hv1", "br-int", WEB2) == 7
    assert tell(observed, "hv1", blue_web2=7) == {WEB1}
    assert tell(observed, "hv1", blue_web2=7) == set()
    assert (observed.host_of(WEB1), observed.number("hv1", "br-int", WEB1)) == (None, None)


def test_ports_of_other_bridges_are_numbers_and_no_claims() -> None:
    observed = two_hosts()
    assert observed.update("hv1", "br-tun", {WEB1: 3, "vxlan": 4}, is_integration=False) == {WEB1, "vxlan"}
    assert observed.host_of(WEB1) is None
    assert observed.bindings("hv1").number("br-tun", "vxlan") == 4
    assert (observed.has("hv1", "br-tun"), observed.has("hv2", "br-tun"), observed.has("hv3")) == (True, False, False)


def test_of_two_hosts_the_newer_has_the_port_and_the_older_is_told_and_gets_it_back() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    tell(observed, "hv2", blue_web1=8)
    assert (observed.host_of(WEB1), observed.claims(WEB1)) == ("hv2", ["hv1", "hv2"])
    assert refused(observed) == ["port blue/web1 is on hv2 now, hv1 still has its interface"]
    assert tell(observed, "hv2") == {WEB1}
    assert observed.host_of(WEB1) == "hv1"
    assert refused(observed) == []


def test_a_port_that_moves_away_and_back_is_where_it_came_last() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    tell(observed, "hv2", blue_web1=8)
    tell(observed, "hv1")
    tell(observed, "hv1", blue_web1=6)
    assert observed.host_of(WEB1) == "hv1"


def test_a_pinned_port_elsewhere_is_refused_and_missing_at_home() -> None:
    observed = two_hosts()
    tell(observed, "hv2", red_web1=5)
    assert refused(observed) == ["port red/web1 showed up on hv2, but fabric.yaml:1:1 pins it to hv1"]
    assert "red/web1" in observed.unplugged(small())
    assert "red/web1" not in observed.locations(small())


# Switches that are lost and come back.


def test_a_lost_switch_keeps_its_ports() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    observed.disconnected("hv1")
    assert (observed.host_of(WEB1), observed.number("hv1", "br-int", WEB1)) == ("hv1", 5)


def test_a_failed_host_that_comes_back_does_not_win_its_port_back() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    observed.disconnected("hv1")
    tell(observed, "hv2", blue_web1=8)
    assert observed.host_of(WEB1) == "hv2"
    assert tell(observed, "hv1", blue_web1=5) == set()
    assert observed.host_of(WEB1) == "hv2"
    assert tell(observed, "hv1", blue_web1=9) == {WEB1}
    assert observed.host_of(WEB1) == "hv2"


def test_what_a_switch_brings_back_with_it_is_as_old_as_its_absence() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web2=6)
    observed.disconnected("hv2")
    tell(observed, "hv1", blue_web1=5, blue_web2=6)
    tell(observed, "hv2", blue_web1=8, blue_web2=9)
    assert observed.host_of(WEB1) == "hv1"
    assert observed.host_of(WEB2) == "hv2"


def test_a_port_that_shows_up_while_its_host_is_gone_is_where_it_shows_up() -> None:
    observed = two_hosts()
    observed.disconnected("hv2")
    tell(observed, "hv1", blue_web1=5)
    observed.disconnected("hv1")
    tell(observed, "hv2", blue_web1=8)
    assert observed.host_of(WEB1) == "hv2"


# A controller that starts: nobody knows which claim is older.


def test_of_claims_of_unknown_age_the_one_that_was_in_force_wins_in_every_order() -> None:
    for order in (("hv1", "hv2"), ("hv2", "hv1")):
        observed = Observed()
        for host in order:
            observed.remember(host, {WEB1: 0} if host == "hv2" else {})
            tell(observed, host, blue_web1=5)
        assert observed.host_of(WEB1) == "hv2"


def test_of_two_hosts_that_remember_a_port_the_one_wins_to_which_it_had_moved_last_in_every_order() -> None:
    for order in (("hv1", "hv2"), ("hv2", "hv1")):
        observed = Observed()
        for host in order:
            observed.remember(host, {WEB1: 1 if host == "hv2" else 0})
            tell(observed, host, blue_web1=5)
        assert observed.host_of(WEB1) == "hv2"


def test_what_is_remembered_is_what_switches_told_last() -> None:
    observed = Observed()
    observed.remember("hv1", {WEB1: 2, WEB2: 0})
    observed.remember("hv2", {WEB1: 3})
    assert observed.remembered(WEB1) == {"hv1": 2, "hv2": 3}
    observed.remember("hv1", {WEB2: 4})
    observed.forget("hv2")
    assert (observed.remembered(WEB1), observed.remembered(WEB2)) == ({}, {"hv1": 4})


def test_of_claims_of_unknown_age_that_nobody_remembers_the_first_stays() -> None:
    observed = Observed()
    tell(observed, "hv1", blue_web1=5)
    tell(observed, "hv2", blue_web1=8)
    observed.disconnected("hv2")
    tell(observed, "hv2", blue_web1=8)
    assert observed.host_of(WEB1) == "hv1"


def test_a_claim_of_unknown_age_is_older_than_a_known_one_unless_that_ones_host_is_gone() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5, blue_web2=6)
    tell(observed, "rack8", blue_web1=8)
    assert observed.host_of(WEB1) == "hv1"
    observed.disconnected("hv1")
    tell(observed, "rack7", blue_web2=8)
    assert observed.host_of(WEB2) == "rack7"


def test_a_host_that_no_file_names_any_more_claims_nothing() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    tell(observed, "hv2", blue_web1=8)
    assert observed.forget("hv2") == {WEB1}
    assert observed.host_of(WEB1) == "hv1"
    assert not observed.has("hv2")


# What OVSDB says.


def test_an_iface_id_binds_whatever_the_interface_is_called_in_both_orders() -> None:
    observed = two_hosts()
    tell(observed, "hv1", tap1=5)
    assert observed.host_of(WEB1) is None
    assert observed.name("hv1", {"tap1": "blue/web1"}) == {"tap1", WEB1}
    assert (observed.host_of(WEB1), observed.number("hv1", "br-int", WEB1)) == ("hv1", 5)
    observed.name("hv2", {"tap9": "blue/web2"})
    assert tell(observed, "hv2", tap9=3) == {WEB2}
    assert observed.host_of(WEB2) == "hv2"


def test_a_subport_is_where_its_parent_is_and_no_interface_is_a_subport() -> None:
    topology = small()
    subport = replace(topology.ports["blue/web1"], name="blue/web1:5", parent="blue/web1", vlan=5)
    topology = replace(topology, ports={**topology.ports, subport.name: subport})
    observed = two_hosts()
    assert {"blue/web1", "blue/web1:5"} <= set(observed.unplugged(topology))
    tell(observed, "hv1", tap7=5, tap8=6)
    observed.name("hv1", {"tap7": "blue/web1:5", "tap8": None})
    assert observed.host_of(WEB1) is None
    observed.name("hv1", {"tap7": "blue/web1:5", "tap8": "blue/web1"})
    assert (observed.host_of(WEB1), observed.number("hv1", "br-int", WEB1)) == ("hv1", 6)
    assert {"blue/web1", "blue/web1:5"}.isdisjoint(observed.unplugged(topology))
    assert observed.misplaced(topology) == []


def test_an_iface_id_counts_more_than_the_name() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    observed.name("hv1", {WEB1: "blue/web2"})
    assert (observed.host_of(WEB1), observed.host_of(WEB2)) == (None, "hv1")
    observed.name("hv1", {WEB1: None})
    assert (observed.host_of(WEB1), observed.host_of(WEB2)) == ("hv1", None)


def test_an_interface_that_is_not_in_use_yet_claims_its_port_the_moment_it_is() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    observed.name("hv2", {})
    assert tell(observed, "hv2", blue_web1=8) == set()
    observed.name("hv2", {WEB1: NOBODY})
    assert tell(observed, "hv2", blue_web1=8) == set()
    assert observed.host_of(WEB1) == "hv1"
    assert observed.name("hv2", {WEB1: "blue/web1"}) == {WEB1}
    assert observed.host_of(WEB1) == "hv2"


def test_of_two_interfaces_for_one_port_the_one_with_the_iface_id_then_the_later_number_wins() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=7, tap1=5)
    assert observed.name("hv1", {"tap1": "blue/web1", WEB1: None}) == {"tap1", WEB1}
    assert observed.number("hv1", "br-int", WEB1) == 5
    assert refused(observed) == ["port blue/web1 is tap1 on hv1, where blue.web1 would be it as well"]
    observed.name("hv1", {"tap1": "blue/web1", WEB1: "blue/web1"})
    assert observed.number("hv1", "br-int", WEB1) == 7
    assert observed.claims(WEB1) == ["hv1"]
    assert tell(observed, "hv1", tap1=5) == {WEB1}
    assert refused(observed) == []


def test_names_found_when_ovsdb_is_first_heard_are_of_unknown_age() -> None:
    observed = two_hosts()
    tell(observed, "hv1", tap1=5)
    tell(observed, "hv2", tap2=6)
    tell(observed, "hv2", tap2=6, blue_web2=7)
    assert not observed.is_named("hv1")
    observed.name("hv1", {"tap1": "blue/web2"})
    assert observed.is_named("hv1")
    assert observed.host_of(WEB2) == "hv2"


def test_a_name_for_an_interface_that_is_not_there_changes_nothing() -> None:
    observed = two_hosts()
    tell(observed, "hv1", blue_web1=5)
    assert observed.name("hv1", {WEB1: None, "gone": "blue/web2"}) == set()
    assert observed.host_of(WEB2) is None
