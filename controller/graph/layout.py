"""Where everything goes in the drawing of a fabric: pure geometry, the same for the same topology.

Hosts are columns and networks are lanes, so that no line crosses another, however large the fabric is. A port sits where its
host's column meets its network's lane; a lane passes behind the hosts that do not have the network.

                        hv1             hv2             hv3
                     ┌────────┐      ┌────────┐      ┌────────┐
    red/web  ════════│ web1   │══════│ web2   │      │        │
    red/db           │        │      │        │══════│ db1    │
                     └───┬────┘      └───┬────┘      └────────┘
    physnet1 ────────────┴───────────────┴───────────
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.graph.fabric import Fabric
from controller.model.entities import Host, Network, PhysicalNetwork, Port

MARGIN = 28
LABEL_WIDTH = 216
GUTTER = 30
HEADER_HEIGHT = 58  # The host's name and address above its first lane.
TITLE_HEIGHT = 64
TENANT_HEIGHT = 30
PORT_HEIGHT = 42
PORT_GAP = 6
_ROW = PORT_HEIGHT + PORT_GAP
PADDING = 8
LANE_GAP = 6
BAR_HEIGHT = 34
BAR_GAP = 14
LEGEND_HEIGHT = 46
NARROWEST, WIDEST = 132, 236

# A cell names this many ports and counts the others: a drawing of a thousand ports has to stay a drawing.
PORTS_SHOWN = 6

# The mean width of a character of a sans-serif font, in em, on the safe side.
_EM = 0.6


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        """The x of the right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The y of the lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The y halfway down."""
        return self.y + self.height / 2


@dataclass(frozen=True, slots=True)
class Column:
    """A host's card; `host` is None for the column of the ports that are on no host yet."""

    host: Host | None
    box: Box


@dataclass(frozen=True, slots=True)
class PortMark:
    """A port and its place."""

    port: Port
    box: Box


@dataclass(frozen=True, slots=True)
class Cell:
    """A network on a host: the ports that are named, and how many are not."""

    column: int
    box: Box
    ports: tuple[PortMark, ...]
    hidden: int


@dataclass(frozen=True, slots=True)
class Lane:
    """A network; `box` is the whole lane, its label at the left."""

    network: Network
    box: Box
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """A tenant's name above its networks."""

    tenant: str
    box: Box


@dataclass(frozen=True, slots=True)
class Bar:
    """A physical network below the hosts, the `place`-th from above; `taps` are the columns that are wired to it."""

    physical: PhysicalNetwork
    place: int
    box: Box
    taps: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole drawing."""

    width: float
    height: float
    columns: tuple[Column, ...]
    headings: tuple[Heading, ...]
    lanes: tuple[Lane, ...]
    bars: tuple[Bar, ...]
    legend: Box


def text_width(text: str, size: float) -> float:
    """Return the room that a text of this font size needs."""
    return len(text) * size * _EM


def lay_out(fabric: Fabric) -> Layout:
    """Return the geometry of a fabric's drawing."""
    topology = fabric.topology
    hosts: list[Host | None] = list(topology.hosts.values())
    if any(name not in fabric.location for name in topology.ports):
        hosts.append(None)
    cells = _ports_by_cell(fabric, hosts)
    width = _column_width(topology.hosts, cells.values())
    lefts = [MARGIN + LABEL_WIDTH + GUTTER + place * (width + GUTTER) for place in range(len(hosts))]
    right = max([left + width for left in lefts] + [MARGIN + LABEL_WIDTH + 2 * NARROWEST])

    headings: list[Heading] = []
    lanes: list[Lane] = []
    y: float = TITLE_HEIGHT + HEADER_HEIGHT
    for tenant in topology.tenants:
        owned = [network for network in topology.networks.values() if network.tenant == tenant]
        if owned:
            headings.append(Heading(tenant, Box(MARGIN, y, right - MARGIN, TENANT_HEIGHT)))
            y += TENANT_HEIGHT
        for network in owned:
            rows = {place: cells[network.name, place] for place in range(len(hosts)) if (network.name, place) in cells}
            lane = _lane(network, rows, Box(MARGIN, y, right - MARGIN, 0), lefts, width)
            lanes.append(lane)
            y = lane.box.bottom + LANE_GAP
    bottom = y + PADDING
    columns = tuple(
        Column(host, Box(left, TITLE_HEIGHT, width, bottom - TITLE_HEIGHT))
        for host, left in zip(hosts, lefts, strict=True)
    )
    bars = _bars(topology.physical_networks.values(), columns, bottom, right)
    end = bars[-1].box.bottom if bars else bottom
    legend = Box(MARGIN, end + BAR_GAP, right - MARGIN, LEGEND_HEIGHT)
    return Layout(right + MARGIN, legend.bottom + PADDING, columns, tuple(headings), tuple(lanes), bars, legend)


def _ports_by_cell(fabric: Fabric, hosts: list[Host | None]) -> dict[tuple[str, int], list[Port]]:
    """Return (network, column) -> ports, each in the order of the files."""
    place = {host.name if host else None: number for number, host in enumerate(hosts)}
    cells: dict[tuple[str, int], list[Port]] = {}
    for port in fabric.topology.ports.values():
        cells.setdefault((port.network, place[fabric.location.get(port.name)]), []).append(port)
    return cells


def _column_width(hosts: Iterable[str], cells: Iterable[list[Port]]) -> float:
    """Return one width for all hosts: what the widest text that is shown needs, within bounds."""
    texts = [text_width(name, 16) + 64 for name in hosts]
    for ports in cells:
        for port in ports[:PORTS_SHOWN]:
            groups = text_width(", ".join(_bare(group) for group in port.groups), 10.5) + 24 if port.groups else 0
            texts.append(text_width(port.name.removeprefix(f"{port.network.partition('/')[0]}/"), 12.5) + groups)
            texts.append(text_width(f"{port.ips[0]} +{len(port.ips)}", 11) if port.ips else 0)
    return min(max([NARROWEST, *(text + 6 * PADDING for text in texts)]), WIDEST)


def _bare(name: str) -> str:
    return name.partition("/")[2] or name


def _lane(network: Network, rows: dict[int, list[Port]], top: Box, lefts: list[float], width: float) -> Lane:
    """Return a lane that begins where `top` says and is as high as its fullest cell."""
    highest = max((_height(ports) for ports in rows.values()), default=PORT_HEIGHT)
    lane = Box(top.x, top.y, top.width, highest + 2 * PADDING)
    cells = []
    for column, ports in rows.items():
        box = Box(lefts[column] + PADDING, lane.y, width - 2 * PADDING, lane.height)
        first = lane.middle - _height(ports) / 2
        marks = tuple(
            PortMark(port, Box(box.x + PADDING, first + row * _ROW, box.width - 2 * PADDING, PORT_HEIGHT))
            for row, port in enumerate(ports[:PORTS_SHOWN])
        )
        cells.append(Cell(column, box, marks, len(ports) - len(marks)))
    return Lane(network, lane, tuple(cells))


def _height(ports: list[Port]) -> float:
    """Return the height of a cell's ports, and of the line that counts those that are not shown."""
    rows = min(len(ports), PORTS_SHOWN) + (len(ports) > PORTS_SHOWN) * 0.5
    return rows * _ROW - PORT_GAP


def _bars(
    physical: Iterable[PhysicalNetwork], columns: tuple[Column, ...], top: float, right: float
) -> tuple[Bar, ...]:
    bars = []
    for number, network in enumerate(physical):
        box = Box(MARGIN, top + BAR_GAP + number * (BAR_HEIGHT + BAR_GAP), right - MARGIN, BAR_HEIGHT)
        taps = tuple(at for at, column in enumerate(columns) if column.host and column.host.name in network.hosts)
        bars.append(Bar(network, number, box, taps))
    return tuple(bars)
