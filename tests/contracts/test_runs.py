"""Commands and states of runs."""

import itertools

import pytest
from pydantic import ValidationError

from muster.contracts.runs import FINAL, Command, State

PATH = [State.WAITING, State.ACCEPTED, State.QUEUED, State.SENT, State.RECEIVED, State.STARTED]


def test_every_state_is_on_the_way_or_at_the_end() -> None:
    """Each target ends in exactly one named state."""
    assert set(PATH) | FINAL == set(State)
    assert not set(PATH) & FINAL
    assert len(FINAL) == 8


def test_states_are_ranked_in_the_order_of_the_way() -> None:
    """A message that comes late cannot take a target back."""
    for before, after in itertools.pairwise([*PATH, State.DONE]):
        assert before.rank < after.rank


def test_nothing_follows_the_end() -> None:
    """All final states are equally far: none replaces another."""
    assert {state.rank for state in FINAL} == {State.DONE.rank}
    assert all(state.final for state in FINAL)
    assert not any(state.final for state in PATH)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"argv": ["true"], "shell": "true"},
        {"argv": ["a\0b"]},
        {"shell": "a\0b"},
        {"argv": ["true"], "cwd": "/a\0b"},
        {"argv": ["true"], "env": {"A": "\0"}},
        {"argv": ["true"], "env": {"A=B": ""}},
        {"argv": ["true"], "env": {"": ""}},
        {"argv": ["true"], "timeout": 0},
        {"argv": ["true"], "timeout": -1},
        {"argv": ["true"], "timeout": float("inf")},
        {"argv": ["true"], "output_cap": -1},
        {"argv": ["x" * 200_000]},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_a_command_that_no_host_could_run_is_refused(fields: dict[str, object]) -> None:
    """It is refused where it is typed, not on a thousand nodes."""
    with pytest.raises(ValidationError):
        Command.model_validate(fields)


def test_a_command_is_an_argument_list_or_a_text_for_the_shell() -> None:
    """What is given as a list never goes through a shell."""
    assert Command(argv=["echo", "$HOME; ls"]).shell == ""
    assert Command.model_validate({"shell": "ps aux | head"}).argv == []


def test_standard_input_may_hold_any_bytes() -> None:
    """Binary data reach the command as they were given."""
    every = bytes(range(256))
    sent = Command(argv=["cat"], stdin=every).model_dump_json()
    assert Command.model_validate_json(sent).stdin == every
