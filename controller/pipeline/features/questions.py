"""Questions: packets that no flow can answer go to the controller, so many a second from each port."""

from __future__ import annotations

from controller.pipeline.flow import Origin, match
from controller.pipeline.program import Builder
from controller.pipeline.questions import HOST_METER, port_meter, tell, write_host_meter, write_port_meter
from controller.pipeline.registers import SOURCE
from controller.pipeline.tables import Feature, Scope, Stage, Table
from controller.pipeline.view import HostView, PortView


def _always(builder: Builder, _host: HostView) -> None:
    ours = Origin("Weft: questions", None)
    write_host_meter(builder, ours)
    builder.flow("tell", 0, (), tell(HOST_METER), kind="from elsewhere", origin=ours)


def _port(builder: Builder, port: PortView) -> None:
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
            stage=Stage.RESOLVE,
            slot=7,
            matches=(SOURCE.field,),
            writes=(),
            next=(),
            purpose="the controller is asked, by a meter for each port",
            miss="cannot be reached: the last flow asks for everything else",
        ),
    ),
    kinds={
        "from a port": "a port's own meter lets it ask, however much others do",
        "from elsewhere": "what came from another host or a wire shares one meter",
    },
    flows={Scope.HOST: _always, Scope.PORT: _port},
)
