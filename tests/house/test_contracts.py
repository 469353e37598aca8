"""What the contracts promise, exactly one package does."""

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest

from docs.generate import constants
from muster.contracts.base import ACCOUNT, NODE, SERVICE, Call, Event
from muster.kit.serve import marked
from tests.house.tree import SERVICES, packages, parsed

ANSWERING = [name for name in SERVICES if name != "gateway"]
CALLS = constants(Call)
EVENTS = constants(Event)
OTHER_NEEDS = {ACCOUNT, NODE, SERVICE, "self"}
TELLING = {"tell", "put", "keep"}


def _answered(service: str) -> list[Call[Any, Any]]:
    module = importlib.import_module(f"muster.{service}.service")
    classes = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    own = [kind for kind in classes if kind.__module__ == module.__name__]
    return [call for kind in own for _, call in marked(kind)]


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_answered_by_one_method_of_the_service_in_its_subject(name: str) -> None:
    """A question that nobody answers, or two, is a broken promise."""
    answering = [
        service for service in ANSWERING for call in _answered(service) if call is CALLS[name]
    ]
    assert answering == [CALLS[name].service]


@pytest.mark.parametrize("service", ANSWERING)
def test_a_service_answers_only_what_the_contracts_hold(service: str) -> None:
    """A question that is not in the contracts is in no reference and has no reader."""
    assert [call.subject for call in _answered(service) if call not in CALLS.values()] == []


def test_subjects_have_their_form() -> None:
    """The broker's permissions count tokens, so the form of a subject is not a matter of taste."""
    for call in CALLS.values():
        assert re.fullmatch(r"muster\.svc\.[a-z]+\.[a-z_]+", call.subject)
        assert call.service in SERVICES
    for event in EVENTS.values():
        assert re.fullmatch(
            r"muster\.(hb|(fact|live|audit)\.[a-z]+)(\.([a-z_]+|\{\d\}))+", event.subject
        )
        assert event.durable == event.subject.startswith(("muster.fact.", "muster.audit."))
    subjects = [call.subject for call in CALLS.values()]
    subjects += [event.subject for event in EVENTS.values()]
    assert len(set(subjects)) == len(subjects)


def test_every_call_says_who_may_ask() -> None:
    """A handler without a policy cannot exist."""
    for call in CALLS.values():
        assert call.needs in OTHER_NEEDS or re.fullmatch(r"[a-z]+\.[a-z]+", call.needs)


def _telling() -> Iterator[tuple[str, str]]:
    """Yield each event that is told or put in an outbox somewhere, and by whom."""
    for one in packages():
        for path in one.modules:
            for node in ast.walk(parsed(path)):
                if not isinstance(node, ast.Call):
                    continue
                function = node.func
                verb = getattr(function, "attr", getattr(function, "id", ""))
                names = [arg.id for arg in node.args if isinstance(arg, ast.Name)]
                if verb in TELLING:
                    yield from ((name, one.name) for name in names if name in EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_is_told_by_the_one_who_knows(name: str) -> None:
    """Everybody else would tell hearsay, and the broker would not let them."""
    tokens = EVENTS[name].subject.split(".")
    owner = "agent" if tokens[1] == "hb" else tokens[2]
    assert {who for event, who in _telling() if event == name} == {owner}
