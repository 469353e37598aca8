"""What a call and an event are made of."""

from collections.abc import Iterator
from typing import Any

import pytest

from docs.generate import messages
from muster.contracts.base import NODE, Call, Event, Message, Nothing
from tests.contracts.schemas import schema_of


def test_a_call_knows_who_answers_it() -> None:
    """The service is the third token of the subject."""
    assert Call("muster.svc.registry.find", Nothing, Nothing, NODE).service == "registry"


def test_an_event_has_a_subject_for_each_thing_and_one_for_all() -> None:
    """Who tells names the thing; who listens may mean every thing."""
    event = Event("muster.fact.scheduler.run.{0}.finished", Nothing, durable=True)
    assert event.at("r1") == "muster.fact.scheduler.run.r1.finished"
    assert event.everything == "muster.fact.scheduler.run.*.finished"
    assert Event("muster.live.registry.nodes", Nothing).everything == "muster.live.registry.nodes"


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.__name__)
def test_no_number_is_too_large_for_a_database(message: type[Message]) -> None:
    """A number without bounds, from a node or a person, would be an error far inside."""
    schema, _ = schema_of(message)
    assert list(_unbounded(schema.get("properties", {}))) == []


def _unbounded(part: Any, place: str = "") -> Iterator[str]:
    """Yield the places of whole numbers that have no bounds."""
    if isinstance(part, list):
        for one in part:
            yield from _unbounded(one, place)
    if not isinstance(part, dict):
        return
    bounded = {"minimum", "exclusiveMinimum"} & set(part) and "maximum" in part
    if part.get("type") == "integer" and not bounded:
        yield place
    for key, value in part.items():
        if key != "$defs":
            yield from _unbounded(value, f"{place}/{key}")
