"""The drawing of a fabric as SVG: one file, no fonts or scripts from elsewhere, legible on light and dark pages."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator

from controller.graph.fabric import Fabric
from controller.graph.layout import (
    LABEL_WIDTH,
    MARGIN,
    Bar,
    Cell,
    Column,
    Heading,
    Lane,
    Layout,
    PortMark,
    lay_out,
    text_width,
)
from controller.model.address import format_mac
from controller.model.entities import HostKind, Network, NetworkType, Port

_TAP_STEP = 14  # Wires to several physical networks leave a host side by side.

# Ten hues that stay apart for readers who do not see all colours; every use is also told by a label.
_HUES = ("#2563eb", "#d97706", "#059669", "#db2777", "#7c3aed", "#0891b2", "#65a30d", "#dc2626", "#4f46e5", "#a16207")

_DASHES = {NetworkType.VLAN: "10 5", NetworkType.FLAT: "2 5"}

_STYLE = """
text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif;fill:#1e293b}
.page{fill:#f8fafc}.card{fill:#ffffff;stroke:#cbd5e1;stroke-width:1.25}.foreign{stroke-dasharray:6 4}
.port{fill:#ffffff;stroke-width:1.25}.muted{fill:#64748b}.bar{fill:#e2e8f0;stroke:#94a3b8}.tap{stroke:#94a3b8;stroke-width:2}
.dot{fill:#94a3b8}.rule{stroke:#cbd5e1}.small{font-size:10.5px}.mono{font-size:11px}.name{font-size:12.5px;font-weight:600}
.host{font-size:16px;font-weight:650}.title{font-size:21px;font-weight:700}
.tenant{font-size:11px;font-weight:700;letter-spacing:.09em}
@media (prefers-color-scheme:dark){text{fill:#e2e8f0}.page{fill:#0f172a}.card{fill:#1e293b;stroke:#475569}
.port{fill:#0f172a}.muted{fill:#94a3b8}.bar{fill:#334155;stroke:#64748b}.tap{stroke:#64748b}.dot{fill:#64748b}.rule{stroke:#334155}}
"""


def svg(fabric: Fabric) -> str:
    """Return the fabric as an SVG document."""
    layout = lay_out(fabric)
    colours = {lane.network.name: _HUES[place % len(_HUES)] for place, lane in enumerate(layout.lanes)}
    name = _escape(fabric.topology.name)
    size = (
        f'width="{_n(layout.width)}" height="{_n(layout.height)}" viewBox="0 0 {_n(layout.width)} {_n(layout.height)}"'
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="Fabric {name}">',
        f"<title>Fabric {name}</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{_n(layout.width)}" height="{_n(layout.height)}" rx="12"/>',
        _text(MARGIN, 41, fabric.topology.name, "title"),
        _text(layout.width - MARGIN, 40, _counts(fabric), "mono muted", end=True),
    ]
    for heading in layout.headings:
        parts += _heading(heading)
    for bar in layout.bars:
        parts += _bar(bar, layout.columns)
    for column in layout.columns:
        parts += _card(column)
    for lane in layout.lanes:
        parts += _wire(lane, layout.columns, colours[lane.network.name])
        parts += _label(lane, colours[lane.network.name])
        for cell in lane.cells:
            parts += _cell(cell, lane.network, colours[lane.network.name])
    parts += _legend(layout)
    return "\n".join([*parts, "</svg>", ""])


def _counts(fabric: Fabric) -> str:
    topology = fabric.topology
    counted = {"host": topology.hosts, "tenant": topology.tenants, "network": topology.networks, "port": topology.ports}
    return ", ".join(f"{len(things)} {word}{'' if len(things) == 1 else 's'}" for word, things in counted.items())


def describe(network: Network) -> str:
    """Return how a network's frames travel, in a few words."""
    segment = "" if network.segment is None else f" {network.segment}"
    there = f" on {network.physical_network}" if network.physical_network else ""
    return f"{network.type}{segment}{there}"


def _escape(text: str) -> str:
    """Return the text as XML may hold it, where control characters are not even allowed escaped."""
    return html.escape("".join(c if c.isprintable() or c == "\n" else " " for c in text))


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")


def _text(x: float, y: float, text: str, kind: str, *, room: float | None = None, end: bool = False) -> str:
    """Return a text element; what does not fit into `room` is cut with an ellipsis."""
    size = {"small": 10.5, "mono": 11, "name": 12.5, "host": 16, "title": 21, "tenant": 12}[kind.split(maxsplit=1)[0]]
    if room is not None and text_width(text, size) > room:
        text = text[: max(1, int(room / text_width("x", size)) - 1)] + "…"
    text = text.replace("\n", " ")
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{_n(x)}" y="{_n(y)}"{anchor}>{_escape(text)}</text>'


def _heading(heading: Heading) -> Iterator[str]:
    box = heading.box
    yield f'<path class="rule" d="M{_n(box.x)} {_n(box.y + 4)}H{_n(box.right)}"/>'
    yield _text(box.x, box.bottom - 8, f"TENANT {heading.tenant.upper()}", "tenant muted")


def _wire(lane: Lane, columns: tuple[Column, ...], colour: str) -> Iterator[str]:
    """Yield the line from the label to the last host that has the network; hosts that do not have it show it faintly."""
    if lane.network.type is NetworkType.LOCAL:
        return
    cells = {cell.column: cell.box for cell in lane.cells if columns[cell.column].host}
    dash = f' stroke-dasharray="{_DASHES[lane.network.type]}"' if lane.network.type in _DASHES else ""
    y, at = _n(lane.box.middle), lane.box.x + LABEL_WIDTH
    for place in range(max(cells, default=-1) + 1):
        card, cell = columns[place].box, cells.get(place)
        for start, end, opacity in (
            (at, cell.x if cell else card.x, "1"),
            (card.x, card.x if cell else card.right, ".16"),
        ):
            if end > start:
                yield (
                    f'<path d="M{_n(start)} {y}H{_n(end)}" stroke="{colour}" stroke-opacity="{opacity}"'
                    f' stroke-width="3"{dash}/>'
                )
        at = cell.right if cell else card.right


def _label(lane: Lane, colour: str) -> Iterator[str]:
    box, network = lane.box, lane.network
    top = box.middle - 22
    yield f"<g><title>{_escape(f'network {network.name}, MTU {network.mtu} ({network.place})')}</title>"
    yield (
        f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{LABEL_WIDTH}" height="{_n(box.height)}" rx="7" fill="{colour}"'
        ' fill-opacity=".13"/>'
    )
    yield f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="5" height="{_n(box.height)}" rx="2.5" fill="{colour}"/>'
    yield _text(box.x + 16, top + 12, network.name, "name", room=192)
    yield _text(box.x + 16, top + 27, describe(network), "mono muted", room=192)
    cidrs = ", ".join(map(str, network.cidrs)) or "layer 2 only"
    yield _text(box.x + 16, top + 42, cidrs, "mono muted", room=192) + "</g>"


def _card(column: Column) -> Iterator[str]:
    box, host = column.box, column.host
    kind = "card" if host and host.kind is HostKind.OVS else "card foreign"
    yield (
        f'<rect class="{kind}" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}"'
        ' rx="10"/>'
    )
    name = host.name if host else "on no host yet"
    yield _text(box.x + 16, box.y + 26, name, "host" if host else "name muted", room=box.width - 32)
    if host:
        yield _text(box.x + 16, box.y + 44, str(host.tunnel_ip), "mono muted", room=box.width - 32)
        badge = "VTEP" if host.kind is HostKind.VTEP else "gateway" if host.gateway else ""
        yield _text(box.right - 14, box.y + 25, badge, "small muted", end=True)


def _cell(cell: Cell, network: Network, colour: str) -> Iterator[str]:
    box = cell.box
    yield (
        f'<rect x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" rx="7"'
        f' fill="{colour}" fill-opacity=".13"/>'
    )
    for mark in cell.ports:
        yield from _port(mark, network, colour)
    if cell.hidden:
        yield _text(box.x + 10, box.bottom - 11, f"and {cell.hidden} more", "small muted")


def _port(mark: PortMark, network: Network, colour: str) -> Iterator[str]:
    box, port = mark.box, mark.port
    yield f"<g><title>{_escape(_details(port))}</title>"
    yield (
        f'<rect class="port" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" rx="6"'
        f' stroke="{colour}"/>'
    )
    name = port.name.removeprefix(f"{network.tenant}/")
    yield _text(box.x + 10, box.y + 17, name, "name", room=box.width - 20)
    said = ", ".join(group.partition("/")[2] for group in port.groups) if port.port_security else "no port security"
    left = box.width - 28 - text_width(name, 12.5)
    if said and left > text_width("xxx", 10.5):
        yield _text(box.right - 9, box.y + 17, said, "small muted", room=left, end=True)
    addresses = str(port.ips[0]) if port.ips else format_mac(port.mac)
    more = f" +{len(port.ips) - 1}" if len(port.ips) > 1 else ""
    yield _text(box.x + 10, box.y + 33, addresses + more, "mono muted", room=box.width - 18) + "</g>"


def _details(port: Port) -> str:
    groups = ", ".join(port.groups) or "none"
    addresses = ", ".join(map(str, port.ips)) or "no address"
    return f"port {port.name}\n{format_mac(port.mac)}\n{addresses}\nsecurity groups: {groups}\n{port.place}"


def _bar(bar: Bar, columns: tuple[Column, ...]) -> Iterator[str]:
    box = bar.box
    yield (
        f'<rect class="bar" x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.width)}" height="{_n(box.height)}" rx="7"/>'
    )
    for place in bar.taps:
        card = columns[place].box
        x = card.x + card.width / 2 + bar.place * _TAP_STEP
        yield f'<path class="tap" d="M{_n(x)} {_n(card.bottom)}V{_n(box.y + 5)}"/>'
        yield f'<circle class="dot" cx="{_n(x)}" cy="{_n(box.y + 5)}" r="4.5"/>'
    yield _text(box.x + 16, box.middle + 4, bar.physical.name, "name", room=LABEL_WIDTH)
    vlans = ", ".join(map(str, bar.physical.vlans))
    offset = min(32 + text_width(bar.physical.name, 13.5), LABEL_WIDTH + 28)
    yield _text(box.x + offset, box.middle + 4, f"VLAN {vlans}" if vlans else "untagged", "mono muted")


def _legend(layout: Layout) -> Iterable[str]:
    """Yield one entry for each way of travelling that the drawing shows."""
    x, y = layout.legend.x, layout.legend.middle + 4
    kinds = {lane.network.type for lane in layout.lanes}
    entries = [
        (any(kind.is_tunnel for kind in kinds), "tunnel", ""),
        (NetworkType.VLAN in kinds, "tagged on a physical network", _DASHES[NetworkType.VLAN]),
        (NetworkType.FLAT in kinds, "untagged on a physical network", _DASHES[NetworkType.FLAT]),
        (NetworkType.LOCAL in kinds, "never leaves a host", None),
    ]
    for present, words, dash in entries:
        if not present:
            continue
        if dash is not None:
            yield (
                f'<path d="M{_n(x)} {_n(y - 4)}h34" stroke="#64748b" stroke-width="3" stroke-dasharray="{dash or "none"}"'
                ' fill="none"/>'
            )
            x += 42
        else:
            yield f'<rect x="{_n(x)}" y="{_n(y - 10)}" width="14" height="12" rx="3" fill="#64748b" fill-opacity=".35"/>'
            x += 22
        yield _text(x, y, words, "mono muted")
        x += text_width(words, 11) + 24
