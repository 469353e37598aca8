"""Charts of a node's history; a gap in the data is a gap in the line."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import altair as alt

from muster.dashboard.shapes import moment, percent

GAP: Final = timedelta(seconds=35)
Point = dict[str, Any]
"""Values by series, with the instant ``at`` (ISO 8601)."""


def points(samples: Iterable[dict[str, Any]]) -> list[Point]:
    """Return a point for each sample, and an empty one where nothing was heard."""
    found: list[Point] = []
    last: datetime | None = None
    for sample in samples:
        at = moment(sample["at"])
        if last is not None and at is not None and at - last > GAP:
            found.append({"at": (last + GAP / 2).isoformat()})
        last = at
        found.append({"at": sample["at"], **_values(sample["metrics"])})
    return found


def _values(metrics: dict[str, Any]) -> dict[str, float | None]:
    wires = [net for net in metrics["net"] if net["name"] != "lo"]
    return {
        "cpu": metrics["cpu"],
        "memory": percent(metrics["memory_used"], metrics["memory_total"]),
        "load": metrics["load"][0],
        "received": sum(net["received"] for net in wires),
        "sent": sum(net["sent"] for net in wires),
        "read": sum(io["read"] for io in metrics["disk_io"]),
        "written": sum(io["written"] for io in metrics["disk_io"]),
    }


def chart(
    data: Sequence[Point], series: Mapping[str, str], title: str, top: float | None = None
) -> alt.Chart:
    """Return a line chart of *series* (name -> label), at most *top* high."""
    rows = [
        {"at": point["at"], "series": label, "value": point.get(name)}
        for point in data
        for name, label in series.items()
    ]
    scale = alt.Scale(domain=[0, top]) if top else alt.Scale(zero=True)
    drawn: alt.Chart = (
        alt.Chart(alt.InlineData(values=rows), title=title, height=200)
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("at:T", title=None),
            y=alt.Y("value:Q", title=None, scale=scale, axis=alt.Axis(format="~s")),
            color=alt.Color("series:N", title=None, legend=alt.Legend(orient="bottom")),
            tooltip=["at:T", "series:N", alt.Tooltip("value:Q", format=".2f")],
        )
    )
    return drawn
