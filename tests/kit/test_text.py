"""Hostile text cannot hide, move the cursor, or become a formula."""

import csv
import io
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.kit.text import cell, clean, shorten, width

ANYTHING = st.text(st.characters())  # with surrogates


def is_hidden(char: str) -> bool:
    """Whether a character shows nothing, or changes how others are shown."""
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_no_character_that_hides_is_let_through() -> None:
    """Every code point that Unicode calls a control, format, surrogate or separator is shown."""
    let_through = [
        hex(code)
        for code in range(sys.maxunicode + 1)
        if is_hidden(chr(code)) and clean(chr(code)) == chr(code)
    ]
    assert let_through == []


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\tc\r", r"a\nb\tc\r"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
        ("\x9b2J", r"\x9b2J"),
        ("line\u2028break", r"line\u2028break"),
        ("\U000e0041", r"\U000e0041"),
        (b"\xff\xfe".decode(errors="surrogateescape"), r"\udcff\udcfe"),
        ("节点 naïve Ω 🚀", "节点 naïve Ω 🚀"),
        ("", ""),
    ],
)
def test_what_is_hidden_is_shown(text: str, seen: str) -> None:
    """Escape codes are spelled out, and ordinary text of any language stays as it is."""
    assert clean(text) == seen


def test_line_breaks_may_be_kept() -> None:
    """For output that has lines of its own; a carriage return still cannot overwrite one."""
    assert clean("a\n\tb\rc\x1b", keep="\n\t") == "a\n\tb\\rc\\x1b"


@given(ANYTHING)
def test_clean_text_stays_clean(text: str) -> None:
    """It can be encoded, is one line, and cleaning again changes nothing."""
    seen = clean(text)
    seen.encode()
    assert len(seen.splitlines()) <= 1
    assert not any(map(is_hidden, seen))
    assert clean(seen) == seen


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "  =1", "＝1", "\r=1"])  # noqa: RUF001
def test_a_formula_becomes_text(text: str) -> None:
    """A spreadsheet shows it instead of computing it."""
    assert cell(text).startswith(("'", "\\r"))


@pytest.mark.parametrize("text", ["-5", "+3.25", "-1e9", "12%", "led", "a=b", "节点"])
def test_numbers_and_plain_text_stay(text: str) -> None:
    """A negative number is no formula."""
    assert cell(text) == text


@given(ANYTHING)
def test_no_cell_begins_like_a_formula(text: str) -> None:
    """Whatever comes, what the spreadsheet reads is text or a number, in one cell."""
    file = io.StringIO()
    csv.writer(file).writerow([cell(text), "next"])
    read, following = next(csv.reader(io.StringIO(file.getvalue(), newline="")))
    assert following == "next"
    if read.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\n")):
        float(read.rstrip("%").replace(",", ""))


def test_width_counts_terminal_columns() -> None:
    """A Chinese character takes two columns, an accent none."""
    assert [width(t) for t in ("led", "节点", "e\u0301", "")] == [3, 4, 1, 0]


@pytest.mark.parametrize(
    ("text", "columns", "short"),
    [("workstation", 11, "workstation"), ("workstation", 5, "work…"), ("节点节点", 6, "节点…"),
     ("节点节点", 4, "节…"), ("abc", 1, "…"), ("abc", 0, "")],
)  # fmt: skip
def test_long_text_is_cut(text: str, columns: int, short: str) -> None:
    """It fits, and shows that something is missing."""
    assert shorten(text, columns) == short


@given(ANYTHING, st.integers(0, 20))
def test_cut_text_always_fits(text: str, columns: int) -> None:
    """Tables stay straight whatever a node is called."""
    assert width(shorten(clean(text), columns)) <= columns
