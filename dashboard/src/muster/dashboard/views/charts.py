"""Charts of a node's history; a gap in the data is a gap in the line."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import altair as alt

from muster.contracts.nodes import Metrics, Sample
from muster.dashboard.shapes import memory

GAP: Final = timedelta(seconds=35)
"""Three heartbeats and a bit: a longer silence is shown as one."""
Point = dict[str, Any]
"""Values by series, with the instant ``at`` (ISO 8601)."""


class Axis(NamedTuple):
    """What a chart's upright axis tells."""

    title: str
    top: float | None = None
    form: str = "~s"


def points(samples: Iterable[Sample]) -> list[Point]:
    """Return a point for each sample, and an empty one where nothing was heard."""
    found: list[Point] = []
    last: datetime | None = None
    for sample in samples:
        if last is not None and sample.at - last > GAP:
            found.append({"at": (last + GAP / 2).isoformat()})
        last = sample.at
        found.append({"at": sample.at.isoformat(), **_values(sample.metrics)})
    return found


def _values(metrics: Metrics) -> dict[str, float | None]:
    wires = [net for net in metrics.net if net.name != "lo"]
    return {
        "cpu": metrics.cpu,
        "memory": memory(metrics),
        "load": metrics.load[0],
        "received": sum(net.received for net in wires),
        "sent": sum(net.sent for net in wires),
        "read": sum(io.read for io in metrics.disk_io),
        "written": sum(io.written for io in metrics.disk_io),
    }


def chart(
    data: Sequence[Point], series: Mapping[str, str], axis: Axis, span: tuple[datetime, datetime]
) -> alt.Chart:
    """Return a line chart of *series* (name -> label) over the time of *span*."""
    rows = [
        {"at": point["at"], "series": label, "value": point.get(name)}
        for name, label in series.items()
        for point in ({"at": span[0].isoformat()}, *data, {"at": span[1].isoformat()})
    ]
    scale = alt.Scale(domain=[0, axis.top]) if axis.top else alt.Scale(zero=True)
    grid = alt.Axis(format=axis.form, tickCount=4)
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows), title=axis.title, height=200)
        .mark_line(strokeWidth=1.6, invalid="break-paths-show-path-domains")
        .encode(
            x=alt.X("at:T", title=None, axis=alt.Axis(tickCount=6, format="%H:%M")),
            y=alt.Y("value:Q", title=None, scale=scale, axis=grid),
            color=alt.Color(
                "series:N",
                title=None,
                scale=alt.Scale(domain=list(series.values())),
                legend=alt.Legend(orient="top", direction="horizontal", offset=2, padding=0),
            ),
            tooltip=[
                alt.Tooltip("at:T", format="%H:%M:%S", title=" "),
                alt.Tooltip("series:N", title=" "),
                alt.Tooltip("value:Q", format=".3~s", title=" "),
            ],
        )
    )
    return drawn
