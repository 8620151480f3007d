"""Questions: packets that no flow can answer go to the controller, so many a second from each port."""

from __future__ import annotations

from controller.graph import queries
from controller.pipeline.flow import Origin, match
from controller.pipeline.program import Builder
from controller.pipeline.questions import (
    HOST_METER,
    OUTSIDE_METER,
    Question,
    port_meter,
    tell,
    write_host_meter,
    write_port_meter,
)
from controller.pipeline.registers import QUESTION, SOURCE, SPACE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: questions", None)
    write_host_meter(builder, ours)
    # Not of priority 0: what such a flow sends has a table miss for its reason, of which no switch tells us (OpenFlow 1.4, section 5.4).
    builder.flow("tell", 1, (), tell(HOST_METER), kind="from elsewhere", origin=ours)
    # In no address space yet: from an external network. Who floods with what cannot be passed on leaves gateways their neighbours.
    outside = match(**{SPACE.field: SPACE.is_(0), QUESTION.field: QUESTION.is_(Question.HEARD)})
    builder.flow("tell", 50, outside, tell(OUTSIDE_METER), kind="heard outside", origin=ours)


def _port(builder: Builder, port: PortView) -> None:
    network = port.network.network
    if not network.dhcp and queries.router_of(builder.memo, network.name) is None:
        return  # There is hardly anything that it may ask: what does not fit a tunnel shares the host's meter.
    write_port_meter(builder, port)
    where = match(**{SOURCE.field: SOURCE.is_(port.plug.key)})
    asked = tell(port_meter(port.plug.number))
    builder.flow("tell", 100, where, asked, kind="from a port", origin=port.origin)


FEATURE = Feature(
    name="questions",
    summary=__doc__.splitlines()[0],
    tables=(
        Table(
            name="tell",
            stage=Stage.DELIVER,
            slot=5,
            matches=(SOURCE.field, SPACE.field, QUESTION.field),
            writes=(),
            next=(),
            purpose="the controller is asked, by a meter for each port",
            miss="cannot be reached: the last flow asks for everything else",
        ),
    ),
    kinds={
        "from a port": "a port's own meter lets it ask, however much others do",
        "heard outside": "neighbours on external networks are heard however much is asked otherwise",
        "from elsewhere": "what came from another host or a wire shares one meter",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port},
)
