"""Who is ticked: the same node as before, or nobody."""

from hypothesis import given
from hypothesis import strategies as some

from muster.dashboard.selection import Frame

IDS = some.lists(some.sampled_from("abcdefghij"), unique=True, max_size=10)
ROWS = some.lists(some.integers(-2, 12), max_size=4)


@given(IDS, IDS, ROWS, some.booleans())
def test_ticks_are_kept_on_the_same_nodes_or_dropped(
    before: list[str],
    after: list[str],
    rows: list[int],
    anew: bool,  # noqa: FBT001
) -> None:
    """Whatever the fleet becomes: what is believed to be ticked is what was ticked, or nothing."""
    shown = Frame().next(before, [])
    ticked = shown.ticked(rows)
    then = shown.next(after, rows, anew=anew)
    believed = then.ticked(rows) if then.key("t") == shown.key("t") else ()
    assert believed in {ticked, ()}
    if ticked and not anew:
        assert believed == ticked


@given(some.lists(some.tuples(IDS, ROWS), max_size=8))
def test_one_key_means_one_order(steps: list[tuple[list[str], list[int]]]) -> None:
    """Streamlit keeps positions by key: no key is ever used for two orders."""
    frame, orders = Frame(), dict[str, tuple[str, ...]]()
    for ids, rows in steps:
        frame = frame.next(ids, rows)
        assert orders.setdefault(frame.key("t"), frame.ids) == frame.ids


def test_rows_stand_still_while_one_is_ticked() -> None:
    """Values may change under a tick, rows may not; the person may ask for other rows."""
    frame = Frame().next(["a", "b"], [])
    assert frame.next(["b", "a", "c"], [0]) == frame
    assert frame.next(["b", "a"], []).ids == ("b", "a")
    assert frame.next(["b", "a"], [0], anew=True).ids == ("b", "a")


def test_another_session_has_other_keys() -> None:
    """A browser that comes back to a restarted server brings ticks that fit nothing."""
    assert Frame().next(["a"], []).key("t") != Frame().next(["a"], []).key("t")
