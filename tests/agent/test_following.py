"""What of an output is told, and that the stored copy is head and tail."""

from hypothesis import given, settings
from hypothesis import strategies as st

from muster.agent.following import BEHIND, MOST, Track, share
from muster.contracts.runs import PIECE
from muster.scheduler.folding import too_much


def _follow(keep: int, sizes: list[int]) -> dict[int, int]:
    """Tell an output that grows through *sizes*; return what the scheduler keeps of it."""
    track, rows = Track(keep), dict[int, int]()

    def tell(spans: list[tuple[int, int]], size: int) -> None:
        for offset, length in spans:
            assert 0 < length <= PIECE
            assert offset + length <= size
            assert offset not in rows or rows[offset] == length
            rows[offset] = length
            tail = [(at, n) for at, n in rows.items() if at + n > keep]
            for gone in too_much(tail, keep * 4):
                del rows[gone]
        track.sent(spans, size)

    for size in sizes:
        tell(track.plan(size, over=False), size)
    size = sizes[-1] if sizes else 0
    rest = track.plan(size, over=True, most=1 << 30)
    for begin in range(0, len(rest), MOST):
        tell(rest[begin : begin + MOST], size)
    assert track.plan(size, over=True) == []
    return rows


def _stored(rows: dict[int, int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for offset, length in sorted(rows.items()):
        if spans and spans[-1][1] >= offset:
            spans[-1] = (spans[-1][0], max(spans[-1][1], offset + length))
        else:
            spans.append((offset, offset + length))
    return spans


steps = st.lists(st.one_of(st.integers(0, 5000), st.integers(0, 3 << 20)), max_size=40)


@given(st.sampled_from([64, 5000, 1 << 18, 1 << 20, 4 << 20]), steps)
@settings(max_examples=300, deadline=None)
def test_head_and_tail_are_kept(keep: int, grown: list[int]) -> None:
    """Exactly, however the output grows."""
    sizes = [sum(grown[: n + 1]) for n in range(len(grown))]
    size = sizes[-1] if sizes else 0
    stored = _stored(_follow(keep, sizes))
    if size == 0:
        assert stored == []
        return
    expected = [(0, keep), (size - keep, size)] if size > 2 * keep else [(0, size)]
    assert stored == expected


def test_a_long_run_costs_no_memory_and_hardly_any_of_the_tail() -> None:
    """The borders of old pieces are forgotten; the tail is short by less than one piece."""
    keep, line = 1 << 18, 80
    sizes = [line * n for n in range(1, 3 * keep // line)]
    track = Track(keep)
    for size in sizes:
        track.sent(track.plan(size, over=False), size)
        assert len(track.told) <= 257
    stored = _stored(_follow(keep, sizes))
    assert stored[-1][1] == sizes[-1]
    assert stored[-1][0] <= sizes[-1] - keep + line


def test_a_live_reader_is_never_far_behind() -> None:
    """Behind the head, the newest bytes come first."""
    track = Track(1000)
    track.sent(track.plan(1000, over=False), 1000)
    assert track.plan(10_000_000, over=False) == [(10_000_000 - PIECE, PIECE)]
    assert track.plan(1000 + BEHIND, over=False) == [(1000, PIECE), (1000 + PIECE, PIECE)]


def test_a_report_has_room_for_both_outputs() -> None:
    """Five pieces at most, and neither output starves the other."""
    many = [(n * PIECE, PIECE) for n in range(MOST)]
    for out, err in ((many, many), (many, many[:1]), (many[:1], many), ([], many), (many, [])):
        first, second = share(out, err)
        assert len(first) + len(second) <= MOST
        assert bool(first) == bool(out)
        assert bool(second) == bool(err)
