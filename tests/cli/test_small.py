"""The small parts: durations, folded names, sizes, visible text, tapes."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.cli import durations, human
from muster.cli.folding import fold
from muster.cli.printing import FINAL
from muster.cli.spool import Shelf, Spool
from muster.cli.tables import to_json
from muster.cli.tape import Tape
from muster.cli.visible import Visible, visible
from muster.contracts.runs import FINAL as CONTRACT_FINAL
from tests.cli.stage import piece


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), ("1h30m", 5400),
     ("0.5s", 0.5), ("250ms", 0.25), ("1W", 604800)],
)  # fmt: skip
def test_a_duration_is_read(text: str, seconds: float) -> None:
    """As people write it."""
    assert durations.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["x", "m", "5 m", "-5", "1h30", "5x", "1e3", "\u0661", "9" * 400, "1..5s", "inf"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Never guessed."""
    with pytest.raises(ValueError, match=re.escape(text.strip().lower())):
        durations.parse(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.2s"), (2.0, "2s"), (59.6, "1m"), (330, "5m 30s"), (3600, "1h"),
     (93784, "1d 2h"), (86400 * 3 + 59, "3d")],
)  # fmt: skip
def test_a_duration_is_shown(seconds: float, text: str) -> None:
    """In at most two units."""
    assert durations.show(seconds) == text


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], ""),
        (["db"], "db"),
        (["web1"], "web1"),
        (["web1", "web2", "web3", "web5"], "web[1-3,5]"),
        (["node08", "node09", "node10", "node11"], "node[08-11]"),
        (["node1", "node01"], "node01,node1"),
        (["a1b", "a2b", "c"], "a[1-2]b,c"),
        (["r1-n2", "r1-n3", "r2-n3"], "r1-n[2-3],r2-n3"),
    ],
)
def test_names_are_folded(names: list[str], folded: str) -> None:
    """As cluster shells write them."""
    assert fold(names) == folded


def _unfold(text: str) -> set[str]:
    found = set()
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        match = re.fullmatch(r"(.*)\[(.*)\](.*)", part)
        if match is None:
            found.add(part)
            continue
        for span in match[2].split(","):
            low, _, high = span.partition("-")
            wide = len(low) if low.startswith("0") else 0
            numbers = range(int(low), int(high or low) + 1)
            found |= {f"{match[1]}{n:0{wide}d}{match[3]}" for n in numbers}
    return found


@given(st.sets(st.from_regex(r"[a-c]{1,2}[0-9]{1,3}(-z)?", fullmatch=True), max_size=40))
def test_folding_loses_no_name_and_invents_none(names: set[str]) -> None:
    """Whatever their numbers look like."""
    assert _unfold(fold(names)) == names


def test_sizes_and_times_are_for_people() -> None:
    """Short, and on the reader's clock."""
    assert [human.size(n) for n in (0, 1023, 1536, 1007 << 20, 5 << 40)] == [
        "0 B", "1,023 B", "1.5 KiB", "1,007 MiB", "5.0 TiB",
    ]  # fmt: skip
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert human.ago("2026-01-02T11:58:00Z", noon) == "2m ago"
    assert human.ago("2025-12-31T11:58:00Z", noon).startswith("2025-12-31")
    assert human.until("2026-01-02T13:00:00Z", noon) == "1h"
    assert (human.ago(None), human.local("nonsense")) == ("-", "-")


@given(st.lists(st.binary(max_size=8), max_size=12))
def test_what_is_visible_does_not_depend_on_the_pieces(pieces: list[bytes]) -> None:
    """A character that is cut in two is one character."""
    shown = Visible()
    text = "".join(map(shown.feed, pieces)) + shown.feed(b"", final=True)
    assert text.encode() == visible(b"".join(pieces))
    assert all(char.isprintable() or char in "\n\t\xa0" or ord(char) > 0xFF for char in text)


CUTS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=12)


@given(st.binary(max_size=60), CUTS)
def test_a_tape_gives_every_byte_once(output: bytes, cuts: list[tuple[int, int]]) -> None:
    """However often and however cut the pieces come, as long as none is missing."""
    tape, got, end = Tape(), b"", 0
    for where, size in [*cuts, (len(output), len(output))]:
        begin = min(where, end)
        stop = min(begin + size, len(output))
        if stop <= begin:
            continue
        end = max(end, stop)
        event = {"target": {"node": "n"}, "pieces": [piece(output[begin:stop], begin)]}
        for chunk in tape.read(event):
            assert chunk.missing == 0
            got += chunk.data
    assert got == output


def test_a_spool_keeps_everything() -> None:
    """In memory and in files, and knows equal from different."""
    with Shelf() as shelf:
        one, two, three = Spool(shelf), Spool(shelf), Spool(shelf)
        for part in (b"a" * 20_000, b"b" * 20_000, b"c"):
            one.add(part)
        two.add(one.whole())
        three.add(one.whole(), missing=1)
        assert one.whole() == b"a" * 20_000 + b"b" * 20_000 + b"c"
        assert one.digest == two.digest != three.digest


def test_json_hides_nothing() -> None:
    """It is the same value, with what cannot be seen written by its number."""
    assert to_json({"a": "zurück\u202e\x9b\U000e0001\ud800"}) == (
        '{"a": "zurück\\u202e\\u009b\\udb40\\udc01\\ud800"}'
    )


def test_the_final_states_are_those_of_the_contract() -> None:
    """The command line imports no contracts at start, so they stand here twice."""
    assert {state.value for state in CONTRACT_FINAL} == FINAL
