"""What a port costs the datapath in masks, whatever its rules are and whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.model.entities import Direction
from controller.pipeline.costs import bound
from tests.proof.hostile import Hostile
from tests.proof.masks import FAR, NEAR, Cost, Costs, Scales, crowd, mask
from tests.proof.samples import dice
from tests.proof.shapes import SHAPES, Shape, drawn

pytestmark = pytest.mark.ovs

_MOST = 64


@pytest.fixture(scope="module")
def scales(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scales]:
    with Scales(tmp_path_factory.mktemp("scales")) as running:
        yield running


@pytest.fixture(scope="module")
def bare(scales: Scales) -> Costs:
    """What a port without rules costs: the guard of sources, the tracker, the way to the port."""
    return scales.weigh(crowd(SHAPES["no rules"]()))


def check(costs: Costs, bare: Costs, shape: Shape) -> None:
    """Hold what was measured against the budget of a port, and against the bound that follows from its rules alone."""
    topology = crowd(shape)
    groups = [topology.groups[name] for name in topology.ports[NEAR].groups]
    for direction, cost, without in (
        (Direction.EGRESS, costs.egress, bare.egress),
        (Direction.INGRESS, costs.ingress, bare.ingress),
    ):
        assert cost.masks <= _MOST, f"{direction}: {cost}"
        assert cost.masks - without.masks <= bound(groups, direction), f"{direction}: {cost}"


@pytest.mark.parametrize("name", SHAPES)
def test_no_shape_of_rules_costs_many_masks(scales: Scales, bare: Costs, name: str) -> None:
    check(scales.weigh(crowd(SHAPES[name]()), pairs=300), bare, SHAPES[name]())


@pytest.mark.parametrize("draw", range(4))
def test_no_rules_drawn_at_random_cost_many_masks(scales: Scales, bare: Costs, draw: int) -> None:
    shape = drawn(dice(draw))
    check(scales.weigh(crowd(shape), pairs=300), bare, shape)


def test_nothing_that_a_port_forges_costs_many_masks(scales: Scales) -> None:
    topology = crowd(SHAPES["no rules"]())
    scales.load(topology)
    frames = Hostile(topology, NEAR, FAR, Direction.EGRESS).forged()
    assert scales.cost(NEAR, frames).masks <= 64


def test_masks_are_counted_as_open_vswitch_counts_them(scales: Scales) -> None:
    """What its megaflows look at, as their text says, is as many masks as it counts, if the text says all."""
    topology = crowd(SHAPES["remote groups and prefixes"]())
    scales.load(topology)
    hostile = Hostile(topology, NEAR, FAR, Direction.EGRESS).frames(100)
    cost = scales.cost(NEAR, filter(is_told_whole, hostile))
    # What has just come to be may be left out once.
    assert cost.masks in [len(set(map(mask, scales.megaflows()))) for _ in range(2)]


def is_told_whole(frame: bytes) -> bool:
    """Whether the text of a packet's megaflows tells all that they look at: it is no fragment, and its IP protocol is not 0."""
    protocol, is_fragment = (frame[23], frame[20] & 0x3F or frame[21]) if frame[12:14] == b"\x08\0" else (frame[20], 0)
    return protocol not in (0, 44) and not is_fragment


def test_a_mask_is_what_is_looked_at_and_not_what_is_found() -> None:
    one = "ufid:1, ct_state(0x21/0x21),in_port(a),ipv4(src=10.0.0.0/255.0.0.0,dst=1.1.1.1/0.0.0.0,proto=6),tcp(dst=80), packets:0"
    same = "ufid:2, ct_state(0x20/0x21),in_port(a),ipv4(src=192.0.0.0/255.0.0.0,dst=0.0.0.0/0.0.0.0,proto=17),udp(dst=9), packets:7"
    longer = same.replace("192.0.0.0/255.0.0.0", "192.0.0.0/255.128.0.0")
    assert mask(one) == mask(same) == {"ct_state/0x21", "in_port", "ipv4.src/255.0.0.0", "ip.proto", "transport.dst"}
    assert mask(longer) != mask(same)
    assert Costs(Cost(3, 9), Cost(5, 8)).masks == 5
