"""What a port costs the datapath in masks, whatever its rules are and whatever is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from controller.model.entities import Direction
from tests.proof.hostile import Hostile
from tests.proof.masks import FAR, NEAR, Scales, crowd, mask
from tests.proof.shapes import SHAPES

pytestmark = pytest.mark.ovs


@pytest.fixture(scope="module")
def scales(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scales]:
    with Scales(tmp_path_factory.mktemp("scales")) as running:
        yield running


def test_masks_are_counted_as_open_vswitch_counts_them(scales: Scales) -> None:
    topology = crowd(SHAPES["remote groups and prefixes"]())
    scales.load(topology)
    with scales.log("dpif_netdev") as log:
        cost = scales.cost(NEAR, Hostile(topology, NEAR, FAR, Direction.EGRESS).frames(100))
    # The tables of the datapath's classifier are its masks, one classifier for each port that packets come in by.
    numbers = re.findall(r"Creating (\d+)\. subtable \S+ for in_port (\d+)", log())
    [port] = {port for number, port in numbers if int(number) > 1}
    assert cost.masks == max(int(number) for number, of in numbers if of == port)


def test_a_mask_is_what_is_looked_at_and_not_what_is_found() -> None:
    one = "ufid:1, ct_state(0x21/0x21),in_port(a),ipv4(src=10.0.0.0/255.0.0.0,dst=1.1.1.1/0.0.0.0,proto=6),tcp(dst=80), packets:0"
    same = "ufid:2, ct_state(0x20/0x21),in_port(a),ipv4(src=192.0.0.0/255.0.0.0,dst=0.0.0.0/0.0.0.0,proto=17),udp(dst=9), packets:7"
    longer = same.replace("192.0.0.0/255.0.0.0", "192.0.0.0/255.128.0.0")
    assert mask(one) == mask(same) == {"ct_state/0x21", "in_port", "ipv4.src/255.0.0.0", "ip.proto", "transport.dst"}
    assert mask(longer) != mask(same)
