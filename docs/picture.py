"""The picture of the pipeline, made from the declarations of its stages and tables."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterator

from controller.pipeline.compile import pipeline
from controller.pipeline.tables import Bridge, Stage

_WIDTH, _GAP, _MARGIN, _PADDING = 170, 20, 24, 18
_LINE, _CHARACTERS = 14, 24  # Height of a line of small text, and how many of its characters fit a box.

_STYLE = """
text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif;fill:#1e293b}
.page{fill:#f8fafc}.card{fill:#ffffff;stroke:#cbd5e1;stroke-width:1.25}.box{stroke-width:1.5}
.int{fill:#2563eb;fill-opacity:.1;stroke:#2563eb}.tun{fill:#d97706;fill-opacity:.1;stroke:#d97706}
.phy{fill:#059669;fill-opacity:.1;stroke:#059669}.bridge{font-size:17px;font-weight:700}.stage{font-size:13px;font-weight:650}
.small{font-size:11px;font-weight:400}.muted{fill:#64748b}.table{font-size:11px;font-family:ui-monospace,"DejaVu Sans Mono",Menlo,monospace}
.way{stroke:#94a3b8;stroke-width:2;fill:none}.tip{fill:#94a3b8}
@media (prefers-color-scheme:dark){text{fill:#e2e8f0}.page{fill:#0f172a}.card{fill:#1e293b;stroke:#475569}.muted{fill:#94a3b8}}
"""

_DUTIES = {
    Bridge.INTEGRATION: "joins the ports of a host",
    Bridge.TUNNEL: "joins hosts",
    Bridge.PHYSICAL: "",
}
_CLASSES = {Bridge.INTEGRATION: "int", Bridge.TUNNEL: "tun", Bridge.PHYSICAL: "phy"}


def picture() -> str:
    """Return the pipeline as an SVG document: each bridge a card, each stage a box that lists its tables."""
    rows = {bridge: [stage for stage in Stage if stage.bridge is bridge and _tables(stage)] for bridge in Bridge}
    heights = {bridge: 58 + max(map(_height, stages)) + _PADDING for bridge, stages in rows.items()}
    heights[Bridge.TUNNEL] = heights[Bridge.PHYSICAL] = max(heights[Bridge.TUNNEL], heights[Bridge.PHYSICAL])
    top, middle = _MARGIN + 34, 46
    lower = top + heights[Bridge.INTEGRATION] + middle
    width = 2 * _MARGIN + _card_width(len(rows[Bridge.INTEGRATION]))
    right = _MARGIN + _card_width(len(rows[Bridge.TUNNEL])) + 60
    places = {Bridge.INTEGRATION: (_MARGIN, top), Bridge.TUNNEL: (_MARGIN, lower), Bridge.PHYSICAL: (right, lower)}
    below = lower + heights[Bridge.TUNNEL]
    height = below + 34 + _MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="The pipeline">',
        f"<title>The pipeline</title><style>{_STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}" rx="12"/>',
    ]
    for bridge, (x, y) in places.items():
        parts += _card(bridge, rows[bridge], x, y, heights[bridge])
    outside = (
        ("ports of virtual machines and containers", _MARGIN + _PADDING + _WIDTH // 2, top, -1),
        ("patch ports: a network is a local VLAN tag", _MARGIN + _PADDING + _WIDTH // 2, lower, -1),
        ("patch port: the VLAN is that of the wire", right + _PADDING + _WIDTH // 2, lower, -1),
        ("tunnels to other hosts: VXLAN, GRE, Geneve", _MARGIN + _PADDING + _WIDTH // 2, below, 1),
        ("the physical network", right + _PADDING + _WIDTH // 2, below, 1),
    )
    for words, x, y, way in outside:
        length = middle if y == lower else 30
        parts += _both_ways(x, y, way * length)
        parts.append(
            f'<text class="small muted" x="{x + 14}" y="{y + way * length // 2 + 4}">{html.escape(words)}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _tables(stage: Stage) -> list[str]:
    return [f"{t.number:>2} {t.name}" for t in pipeline().tables_of(stage.bridge) if t.stage is stage]


def _meaning(stage: Stage) -> list[str]:
    return textwrap.wrap(stage.meaning, _CHARACTERS, break_on_hyphens=False)


def _height(stage: Stage) -> int:
    return 40 + _LINE * (len(_meaning(stage)) + len(_tables(stage)))


def _card_width(stages: int) -> int:
    return 2 * _PADDING + stages * _WIDTH + (stages - 1) * _GAP


def _card(bridge: Bridge, stages: list[Stage], x: int, y: int, height: int) -> Iterator[str]:
    yield f'<rect class="card" x="{x}" y="{y}" width="{_card_width(len(stages))}" height="{height}" rx="10"/>'
    yield (
        f'<text class="bridge" x="{x + _PADDING}" y="{y + 28}">{bridge}'
        f'<tspan class="small muted" dx="10">{_DUTIES[bridge]}</tspan></text>'
    )
    box_height = height - 44 - _PADDING
    for place, stage in enumerate(stages):
        left, head = x + _PADDING + place * (_WIDTH + _GAP), y + 44
        yield (
            f'<rect class="box {_CLASSES[bridge]}" x="{left}" y="{head}" width="{_WIDTH}" height="{box_height}" rx="8"/>'
        )
        yield f'<text class="stage" x="{left + 11}" y="{head + 21}">{stage.name.lower().replace("_", " ")}</text>'
        down = head + 39
        for line in _meaning(stage):
            yield f'<text class="small muted" x="{left + 11}" y="{down}">{html.escape(line)}</text>'
            down += _LINE
        for line in _tables(stage):
            yield f'<text class="table" x="{left + 11}" y="{down + 6}" xml:space="preserve">{html.escape(line)}</text>'
            down += _LINE
        if place and bridge is Bridge.INTEGRATION:
            middle = head + box_height // 2
            yield f'<path class="way" d="M{left - _GAP + 2} {middle}h{_GAP - 8}"/>'
            yield f'<path class="tip" d="M{left - 8} {middle - 4}l7 4l-7 4z"/>'


def _both_ways(x: int, y: int, length: int) -> Iterator[str]:
    """Yield a line with a tip at each end, upwards if the length is negative."""
    top, bottom = sorted((y, y + length))
    yield f'<path class="way" d="M{x} {top + 8}V{bottom - 8}"/>'
    yield f'<path class="tip" d="M{x - 4} {top + 9}l4 -7l4 7z"/>'
    yield f'<path class="tip" d="M{x - 4} {bottom - 9}l4 7l4 -7z"/>'
