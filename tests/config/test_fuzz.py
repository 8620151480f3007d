"""Whatever a file holds, the answer is a topology or problems with places: any exception is a bug."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from controller.config import Loaded, load, render
from tests.config.folders import FABRIC

EXAMPLE = (Path(__file__).parents[2] / "topologies/quickstart/tenants/red.yaml").read_text(encoding="utf-8")

_WORDS = (
    "red blue web net a b any default hv1 rack9 physnet1 physnet2 tcp icmp icmpv6 udp ipv4 ipv6 vxlan gre flat vlan local allow deny "
    "true false no 0 1 22 80-90 90-80 1000 1050 4095 16777216 10.0.0.0/8 10.0.1.0/24 10.0.1.5 10.0.1.0/30 fd00::/64 fd00::5 ::/0 "
    "1000/s lldp 0x88cc 0x0800 red/corp blue/corp ff02::1 02:00:00:00:00:01 01:00:00:00:00:00 red/net blue/net red/a x/y/z ~ '' '~' << "
    "public lab 203.0.113.12 203.0.113.10-203.0.113.19 2001:db8::12 0.0.0.0/0 example.org 12h slaac a:5"
)
_KEYS = (
    "networks security_groups port_groups ports tests routers type segment physical_network cidr gateway share dhcp ingress egress "
    "protocol from to ethertype code group network host port_group mac ip port_security allowed_addresses trunk port expect reply "
    "dns domain lease ipv6 external snat address routes via external_networks pool floating_ips vlan "
    "enforce log stateless address_group address_groups cidrs security_groups new_connections ethertypes connections "
    "fabric hosts tenants vlans segments tunnel_ip kind bridges int id overlay mtu physical_networks rules"
)
WORDS = st.sampled_from(_WORDS.split())
KEYS = st.sampled_from(_KEYS.split())
VALUES = st.recursive(
    WORDS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.dictionaries(KEYS | WORDS, inner, max_size=4).map(
            lambda entries: "{" + ", ".join(f"{key}: {value}" for key, value in entries.items()) + "}"
        )
    ),
    max_leaves=12,
)


def load_text(red: bytes, fabric: bytes = FABRIC.encode()) -> Loaded:
    """Load a topology of these two files; every problem must be fit to be shown."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tenants").mkdir()
        (folder / "fabric.yaml").write_bytes(fabric)
        (folder / "tenants" / "red.yaml").write_bytes(red)
        result = load(folder)
    for problem in result.problems:
        assert render(problem).replace("\n", "").isprintable()
        assert problem.place.line >= 1
        assert problem.place.column >= 1
    assert (result.topology is None) == any(not problem.is_warning for problem in result.problems)
    return result


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes(data: bytes) -> None:
    load_text(data)
    load_text(b"", data)


@settings(deadline=None)
@given(st.text(alphabet="[]{}:,-?&*!|>'\"%@` \n\tabc#<~é\x85\u2028", max_size=60))
def test_punctuation(text: str) -> None:
    load_text(text.encode())
    load_text(b"", text.encode())


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_right_words_in_wrong_places(sections: dict[str, str]) -> None:
    text = "".join(f"{key}: {value}\n" for key, value in sections.items())
    load_text(text.encode())
    load_text(b"", ("fabric: f\n" + text).encode())


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["networks", "ports", "port_groups", "security_groups", "address_groups", "routers", "floating_ips"]
            ),
            VALUES,
        ),
        max_size=6,
    )
)
def test_almost_right_tenants(entries: list[tuple[str, str]]) -> None:
    sections: dict[str, list[str]] = {}
    for number, (section, value) in enumerate(entries):
        sections.setdefault(section, []).append(f"  {'ab'[number % 2]}{number}: {value}\n")
    load_text("".join(f"{section}:\n{''.join(lines)}" for section, lines in sections.items()).encode())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(EXAMPLE) - 1), st.integers(0, 30), WORDS | st.text(max_size=4))
def test_an_example_with_a_piece_replaced(start: int, length: int, piece: str) -> None:
    text = EXAMPLE[:start] + piece + EXAMPLE[start + length :]
    load_text(text.encode("utf-8", "surrogatepass"))
