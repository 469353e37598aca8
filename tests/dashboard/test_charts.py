"""Charts tell the truth about silence."""

from datetime import UTC, datetime, timedelta

from muster.contracts.nodes import Sample
from muster.dashboard.views.charts import Axis, chart, points
from tests.dashboard.gateway import FakeGateway

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def samples(*seconds: int) -> list[Sample]:
    """Return samples so many seconds after noon."""
    metrics = FakeGateway.metrics(1, 0.0)
    return [Sample(at=NOON + timedelta(seconds=s), metrics=metrics) for s in seconds]


def test_a_gap_in_the_data_is_a_gap_in_the_line() -> None:
    """Where nothing was heard there is a point without values; a late heartbeat is no silence."""
    assert ["cpu" in point for point in points(samples(0, 10, 40))] == [True, True, True]
    assert ["cpu" in point for point in points(samples(0, 10, 300, 310))] == [
        True, True, False, True, True,
    ]  # fmt: skip
    assert points([]) == []


def test_a_chart_shows_the_whole_hour() -> None:
    """A node that has just joined does not fill the picture with one minute."""
    span = (NOON - timedelta(hours=1), NOON)
    drawn = chart(points(samples(-20, -10)), {"cpu": "CPU"}, Axis("use", 100), span)
    told = drawn.to_dict()
    rows = told["datasets"][told["data"]["name"]]
    assert [rows[0]["at"], rows[-1]["at"]] == [moment.isoformat() for moment in span]
    assert [row["value"] is None for row in rows] == [True, False, False, True]
