"""What was once on the wire is understood for ever.

Each message has a file in ``golden/`` with a *full* example and one with the *least* that it
must hold; ``language.json`` holds the subjects and the enumerations. Files only grow:
``--write-golden`` adds what is new, and never changes what is there. Whoever has to change a
file by hand is about to break older agents and services.
"""

import inspect
import json
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import pytest

from docs.generate import constants, messages, modules
from muster.contracts.base import Call, Event, Message
from tests.contracts import examples

GOLDEN: Final = Path(__file__).parent / "golden"
LANGUAGE: Final = GOLDEN / "language.json"
MESSAGES: Final = messages()
HINT: Final = "write what is new with: pytest tests/contracts --write-golden"


def _file(message: type[Message]) -> Path:
    return GOLDEN / f"{message.__module__.rsplit('.', 1)[-1]}.{message.__name__}.json"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def _grow(path: Path, now: dict[str, Any]) -> None:
    """Add to a file what it does not hold yet; what it holds stays."""
    old = _read(path)
    grown = {
        key: value | old.get(key, {}) if key != "least" else old.get(key, value)
        for key, value in now.items()
    }
    GOLDEN.mkdir(exist_ok=True)
    path.write_text(json.dumps(grown, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _message_now(message: type[Message]) -> dict[str, Any]:
    now = {"full": examples.full(message), "least": examples.least(message)}
    other = examples.other(message)
    return now | ({"other": other} if other else {})


def _language_now() -> dict[str, Any]:
    enums = [
        kind
        for module in modules()
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, StrEnum) and kind is not StrEnum
    ]
    calls = {
        name: [call.subject, call.ask.__name__, call.answer.__name__, call.needs]
        for name, call in constants(Call).items()
    }
    events = {
        name: [event.subject, event.fact.__name__, str(event.durable)]
        for name, event in constants(Event).items()
    }
    words = {kind.__name__: {one.name: one.value for one in kind} for kind in enums}
    return {"calls": calls, "events": events, **words}


def _lost(old: Any, new: Any, at: str = "") -> list[str]:
    """Return where *new* does not say what *old* said; what is added is no loss."""
    if isinstance(old, dict) and isinstance(new, dict):
        gone = [f"{at}.{key}" for key in old if key not in new]
        kept = [key for key in old if key in new]
        return gone + [where for key in kept for where in _lost(old[key], new[key], f"{at}.{key}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [where for i, (a, b) in pairs for where in _lost(a, b, f"{at}[{i}]")]
    return [] if old == new else [at]


def _sent_again(message: type[Message], value: Any) -> Any:
    return json.loads(message.model_validate_json(json.dumps(value)).model_dump_json())


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_a_message_of_yesterday_is_understood(
    message: type[Message], *, write_golden: bool
) -> None:
    """Every field keeps its name, its type and its meaning, and none becomes necessary."""
    now = _message_now(message)
    if write_golden:
        _grow(_file(message), now)
    golden = _read(_file(message))
    assert golden, HINT
    for example in (golden["full"], golden.get("other", {}) or golden["full"]):
        assert _lost(example, _sent_again(message, example)) == []
    message.model_validate_json(json.dumps(golden["least"]))
    assert now["full"].keys() == golden["full"].keys(), HINT


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_a_message_of_tomorrow_is_understood(message: type[Message]) -> None:
    """A field that only newer readers know is ignored, not refused."""
    golden = _read(_file(message))
    message.model_validate_json(json.dumps(golden["full"] | {"a_field_of_tomorrow": [1]}))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: m.__name__)
def test_a_message_cannot_be_changed(message: type[Message]) -> None:
    """What was said is said; a change is another message."""
    assert message.model_config["frozen"]


def test_the_subjects_and_words_of_yesterday_are_still_spoken(*, write_golden: bool) -> None:
    """An older agent asks on the subject that it knows, and names states as it learnt them."""
    now = _language_now()
    if write_golden:
        _grow(LANGUAGE, now)
    golden = _read(LANGUAGE)
    assert _lost(golden, now) == []
    assert golden == now, HINT


def test_no_golden_file_is_left_over() -> None:
    """A message that is removed is still sent by those that do not know that."""
    expected = {_file(message).name for message in MESSAGES} | {LANGUAGE.name}
    assert {path.name for path in GOLDEN.iterdir()} == expected


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, []),
        ({"a": 1}, {"b": 1}, [".a"]),
        ({"a": 1}, {"a": "1"}, [".a"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, [".a[0].b"]),
        ({"a": [1, 2]}, {"a": [1]}, [".a"]),
    ],
)
def test_a_loss_is_found(old: Any, new: Any, lost: list[str]) -> None:
    """A guard that finds nothing guards nothing."""
    assert _lost(old, new) == lost
