"""The results as drawings: SVG files without fonts or scripts from elsewhere, legible on light and dark pages."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.figure import Unit, said

_STYLE = """
text{font-family:ui-sans-serif,system-ui,-apple-system,"Segoe UI","Helvetica Neue",Arial,sans-serif;fill:#1e293b;font-size:12px}
.page{fill:#f8fafc}.card{fill:#ffffff;stroke:#cbd5e1;stroke-width:1.25}.muted{fill:#64748b}
.small{font-size:10.5px;paint-order:stroke;stroke:#ffffff;stroke-width:3px;stroke-linejoin:round}
.title{font-size:17px;font-weight:700}.name{font-weight:600}.grid{stroke:#cbd5e1;stroke-width:1}.goal{stroke:#059669;stroke-width:1.5;
stroke-dasharray:5 4}.goaltext{fill:#059669;font-size:10.5px}.line{stroke:#2563eb;stroke-width:2;fill:none}.dot{fill:#2563eb}
.own{fill:#2563eb}.peer0{fill:#d97706}.peer1{fill:#f5b85e}.peer2{fill:#94a3b8}
@media (prefers-color-scheme:dark){text{fill:#e2e8f0}.page{fill:#0f172a}.card{fill:#1e293b;stroke:#475569}.muted{fill:#94a3b8}
.small{stroke:#1e293b}.grid{stroke:#475569}.goal{stroke:#34d399}.goaltext{fill:#34d399}.line{stroke:#60a5fa}.dot{fill:#60a5fa}.own{fill:#60a5fa}}
"""

_MARGIN, _GAP = 20, 14
_PANEL_WIDTH, _PANEL_HEIGHT, _COLUMNS = 292, 168, 3
_BAR, _BAR_GAP, _GROUP_GAP = 13, 3, 14
_LABELS, _SCALE, _VALUES = 325, 430, 130


@dataclass(frozen=True, slots=True)
class Panel:
    """One figure over all runs: `points` are (run, value), None where a run has not measured it; `goal` a bound, if it is one number."""

    title: str
    unit: Unit
    points: Sequence[tuple[str, float | None]]
    goal: float | None
    is_better_above: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """One work with a bar for each who does it: (name, seconds from, seconds to)."""

    title: str
    bars: Sequence[tuple[str, float, float]]


def panels(title: str, drawn: Sequence[Panel]) -> str:
    """Return small charts side by side, one line each, all on logarithmic scales of their own."""
    rows = math.ceil(len(drawn) / _COLUMNS)
    width = 2 * _MARGIN + _COLUMNS * _PANEL_WIDTH + (_COLUMNS - 1) * _GAP
    height = 2 * _MARGIN + 30 + rows * (_PANEL_HEIGHT + _GAP) - _GAP
    parts = [_text(_MARGIN, _MARGIN + 14, title, "title")]
    for place, panel in enumerate(drawn):
        x = _MARGIN + place % _COLUMNS * (_PANEL_WIDTH + _GAP)
        y = _MARGIN + 30 + place // _COLUMNS * (_PANEL_HEIGHT + _GAP)
        parts += _panel(panel, x, y)
    return _document(title, width, height, parts)


def _panel(panel: Panel, x: float, y: float) -> Iterator[str]:
    yield f'<rect class="card" x="{x}" y="{y}" width="{_PANEL_WIDTH}" height="{_PANEL_HEIGHT}" rx="9"/>'
    yield _text(x + 12, y + 21, panel.title, "name")
    known = [value for _, value in panel.points if value is not None]
    bounds = [panel.goal] if panel.goal else []
    positive = [value for value in (*known, *bounds) if value > 0]
    if not known or not positive:
        yield _text(x + 12, y + 90, "0 in every run" if known else "not measured yet", "muted")
        return
    low, high = min(positive) / 1.6, max(positive) * 1.6
    top, bottom, left, right = y + 38, y + _PANEL_HEIGHT - 30, x + 14, x + _PANEL_WIDTH - 70

    def at(value: float) -> float:
        return bottom - (math.log(max(value, low)) - math.log(low)) / (math.log(high) - math.log(low)) * (bottom - top)

    yield f'<path class="grid" d="M{left} {bottom}H{right}"/>'
    if panel.goal:
        sign = "≥" if panel.is_better_above else "≤"
        yield f'<path class="goal" d="M{left} {at(panel.goal):.1f}H{right}"/>'
        yield _text(right + 5, at(panel.goal) + 4, f"{sign} {said(panel.goal, panel.unit)}", "goaltext")
    step = (right - left - 20) / max(1, len(panel.points) - 1)
    drawn = [
        (left + 10 + place * step, at(value), value)
        for place, (_, value) in enumerate(panel.points)
        if value is not None
    ]
    if len(drawn) > 1:
        yield f'<path class="line" d="M{"L".join(f"{px:.1f} {py:.1f}" for px, py, _ in drawn)}"/>'
    for px, py, _ in drawn:
        yield f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="3.5"/>'
    for px, py, value in {drawn[0], drawn[-1]}:
        yield _text(px + 6, py - 7, said(value, panel.unit), "small")
    first, last = panel.points[0][0], panel.points[-1][0]
    yield _text(left, bottom + 17, first, "small muted")
    if last != first:
        yield _text(right, bottom + 17, last, "small muted", end=True)


def bars(title: str, drawn: Sequence[Bars], names: Sequence[str]) -> str:
    """Return bars on one logarithmic scale of seconds, grouped by work, and coloured by the place of their name in `names`."""
    values = [value for group in drawn for _, *ends in group.bars for value in ends if value > 0]
    if not values:
        return _document(title, 400, 80, [_text(_MARGIN, 40, "nothing has been measured yet", "muted")])
    low = math.floor(math.log10(min(values) / 1.5))
    high = math.ceil(math.log10(max(values)))
    left, top = _MARGIN + _LABELS, _MARGIN + 66

    def at(value: float) -> float:
        return left + (math.log10(value) - low) / (high - low) * _SCALE

    height = top + sum(len(group.bars) * (_BAR + _BAR_GAP) + _GROUP_GAP for group in drawn) + _MARGIN
    parts = [_text(_MARGIN, _MARGIN + 14, title, "title"), *_legend(names)]
    for power in range(low, high + 1):
        x = at(10**power)
        parts.append(f'<path class="grid" d="M{x:.1f} {top - 6}V{height - _MARGIN}"/>')
        parts.append(_text(x + 3, top - 8, said(10**power, Unit.SECONDS), "small muted"))
    y = float(top)
    for group in drawn:
        block = len(group.bars) * (_BAR + _BAR_GAP)
        parts.append(_text(left - 12, y + block / 2 + 4, group.title, "name", end=True))
        for name, shortest, longest in group.bars:
            kind = _kind(names.index(name))
            parts.append(
                f'<rect class="{kind}" x="{left}" y="{y:.1f}" width="{at(shortest) - left:.1f}" height="{_BAR}" rx="2"/>'
            )
            if longest > shortest:
                parts.append(
                    f'<rect class="{kind}" fill-opacity=".45" x="{at(shortest):.1f}" y="{y:.1f}" '
                    f'width="{at(longest) - at(shortest):.1f}" height="{_BAR}" rx="2"/>'
                )
            words = said(shortest, Unit.SECONDS)
            words = f"{words} to {said(longest, Unit.SECONDS)}" if longest > shortest else words
            parts.append(_text(at(longest) + 6, y + _BAR - 3, words, "small"))
            y += _BAR + _BAR_GAP
        y += _GROUP_GAP
    return _document(title, left + _SCALE + _VALUES + _MARGIN, height, parts)


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = _MARGIN
    for place, name in enumerate(names):
        yield f'<rect class="{_kind(place)}" x="{x}" y="{_MARGIN + 28}" width="12" height="12" rx="2"/>'
        yield _text(x + 18, _MARGIN + 38, name, "muted")
        x += 36 + 7 * len(name)


def _kind(place: int) -> str:
    return f"peer{place - 1}" if place else "own"


def _text(x: float, y: float, words: str, kind: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}"{anchor}>{html.escape(words)}</text>'


def _document(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{html.escape(title)}">'
    page = f'<rect class="page" width="{width:.0f}" height="{height:.0f}" rx="12"/>'
    return "\n".join([head, f"<title>{html.escape(title)}</title><style>{_STYLE}</style>", page, *parts, "</svg>", ""])
