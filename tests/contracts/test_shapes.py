"""What a call and an event are made of."""

from muster.contracts.base import NODE, Call, Event, Nothing


def test_a_call_knows_who_answers_it() -> None:
    """The service is the third token of the subject."""
    assert Call("muster.svc.registry.find", Nothing, Nothing, NODE).service == "registry"


def test_an_event_has_a_subject_for_each_thing_and_one_for_all() -> None:
    """Who tells names the thing; who listens may mean every thing."""
    event = Event("muster.fact.scheduler.run.{0}.finished", Nothing, durable=True)
    assert event.at("r1") == "muster.fact.scheduler.run.r1.finished"
    assert event.everything == "muster.fact.scheduler.run.*.finished"
    assert Event("muster.live.registry.nodes", Nothing).everything == "muster.live.registry.nodes"
