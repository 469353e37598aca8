"""Cursors are opaque, and safe against whoever makes one up."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.contracts.errors import Malformed
from muster.kit.paging import decode, encode, page

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NOON = datetime(2026, 1, 1, 12, 0, 0, 5, tzinfo=UTC)


def raw(text: str) -> str:
    """Return a cursor that somebody made up."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(TEXT, st.integers(-(2**63), 2**63 - 1), FLOATS)
def test_values_come_back(text: str, number: int, real: float) -> None:
    """What went into a cursor comes out, with its types."""
    cursor = encode(text, number, real, NOON)
    assert decode(cursor, str, int, float, datetime) == (text, number, real, NOON)
    assert cursor.isascii()


@pytest.mark.parametrize(
    "cursor",
    ["x", "!!!!", "é", raw("{"), raw('{"a":1}'), raw('"ab"'), raw("[1]"), raw('["a",1,2]'),
     raw('["a","b"]'), raw('["a",true]'), raw('["a",1.0]'), raw('["a",null]'),
     raw('["a",99999999999999999999]'), raw("[" * 100_000),
     raw('["a\\u0000",1]'), raw('["\\ud800",1]')],
)  # fmt: skip
def test_a_made_up_cursor_is_malformed(cursor: str) -> None:
    """It never reaches the database, and is no crash."""
    with pytest.raises(Malformed, match="no cursor"):
        decode(cursor, str, int)


@given(st.text())
def test_any_text_is_decoded_or_malformed(cursor: str) -> None:
    """There is no third outcome."""
    try:
        decode(cursor, str, float)
    except Malformed:
        return


def test_not_a_number_is_no_place_in_an_order() -> None:
    """A comparison with it would never end the list."""
    for text in ('["a",NaN]', '["a",Infinity]', f'["a",1{"0" * 400}]'):
        with pytest.raises(Malformed):
            decode(raw(text), str, float)


def test_a_time_without_zone_is_malformed() -> None:
    """Times in cursors are moments."""
    with pytest.raises(Malformed):
        decode(raw('["2026-01-01T00:00:00"]'), datetime)


def test_a_page_has_a_cursor_only_if_something_follows() -> None:
    """One row more than the limit was asked for; it tells, and is not shown."""
    assert page([1, 2, 3], 2, lambda n: (n,)) == ([1, 2], encode(2))
    assert page([1, 2], 2, lambda n: (n,)) == ([1, 2], "")
    assert page([], 2, lambda n: (n,)) == ([], "")
