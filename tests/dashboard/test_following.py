"""A run on the screen: told once, in order, bounded, and never replayed from the beginning."""

from datetime import UTC, datetime

from muster.contracts.names import new_id
from muster.contracts.runs import (
    Command,
    Piece,
    RunEvent,
    RunEvents,
    RunView,
    State,
    Stream,
    TargetView,
)
from muster.dashboard import following
from muster.dashboard.following import Following
from tests.dashboard.gateway import node_id

NODE = node_id(1)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def target(state: State = State.STARTED, **more: int) -> TargetView:
    """Return a target."""
    return TargetView(node=NODE, name="one", state=state, **more)


def view(*targets: TargetView, seq: int = 0) -> RunView:
    """Return a run."""
    command = Command(shell="true")
    return RunView(
        id=new_id(), command=command, created=NOW, by="li", expires=NOW, targets=[*targets], seq=seq
    )


def events(*pieces: tuple[int, bytes], seq: int = 1, state: State = State.STARTED) -> RunEvents:
    """Return one event with pieces of standard output."""
    told = [Piece(stream=Stream.OUT, offset=offset, data=data) for offset, data in pieces]
    event = RunEvent(run=new_id(), seq=seq, target=target(state, seq=seq), pieces=told)
    return RunEvents(items=[event], seq=seq)


def test_output_is_shown_once_and_bounded() -> None:
    """Repeated pieces are dropped, a gap begins anew and is said, and so is the cut."""
    run = Following("r")
    run.take(events((0, b"abc"), (0, b"abc"), (2, b"cde")), {NODE})
    out = run.targets[NODE].outputs[Stream.OUT]
    assert out.data == b"abcde"
    assert not out.cut
    run.take(events((10, b"x" * following.SHOWN)), {NODE})
    assert out.data == b"x" * following.SHOWN
    assert out.cut


def test_a_big_run_begins_at_its_end() -> None:
    """Events before the first look are not asked for; the end of the output is read instead."""
    size = 5_000_000
    asked: list[int] = []

    def read(_node: str, _stream: Stream, offset: int) -> tuple[int, bytes, bool]:
        asked.append(offset)
        return offset, b"y" * min(40_000, size - offset), False

    run = Following("r")
    run.begin(view(target(stdout=size), seq=900))
    assert run.seq == 900
    run.targets[NODE].catch_up(read)
    out = run.targets[NODE].outputs[Stream.OUT]
    assert asked == [size - following.SHOWN, size - following.SHOWN + 40_000]
    assert (out.offset, len(out.data), out.cut) == (size, following.SHOWN, True)


def test_what_is_not_watched_is_not_kept() -> None:
    """A thousand nodes that talk do not fill the memory of a session."""
    run = Following("r")
    run.begin(view(target()))
    run.take(events((0, b"abc")), set())
    assert run.targets[NODE].outputs[Stream.OUT].data == b""
    run.take(events((3, b"def")), {NODE})
    assert run.targets[NODE].outputs[Stream.OUT].cut


def test_a_target_never_goes_back() -> None:
    """An old view that arrives after a newer event changes nothing."""
    run = Following("r")
    run.take(events(seq=7, state=State.DONE), set())
    run.begin(view(target(State.STARTED, seq=3)))
    assert run.targets[NODE].target.state is State.DONE
