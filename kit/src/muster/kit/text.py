"""Text that strangers wrote, made safe to show: on a terminal, in a log, in a spreadsheet.

Everything an agent or a command says is hostile: an escape sequence can rewrite a terminal, a
bidirectional override can show a name backwards, a line break can forge a log line.
"""

import re
import unicodedata
from typing import Final

_NAMES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_HIDDEN: Final = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # C0 and C1 controls
    "\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"  # format characters
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # zero width, bidi, separators
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e007f"  # tag characters
    "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters that look like nothing
    "\ud800-\udfff"  # lone surrogates: bytes that were not UTF-8
    "]"
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001
_NUMBER: Final = re.compile(r"[+-]?\d+([.,]\d+)*(e[+-]?\d+)?%?", re.IGNORECASE)


def clean(text: str, *, keep: str = "") -> str:
    r"""Make what cannot be seen visible: ``\x1b``, ``\u202e``; *keep* may be ``"\n\t"``."""
    if text.isascii() and text.isprintable():
        return text

    def show(match: re.Match[str]) -> str:
        found = match[0]
        return found if found in keep else _NAMES.get(found) or _escape(found)

    return _HIDDEN.sub(show, text)


def _escape(char: str) -> str:
    code = ord(char)
    if code <= 0xFF:  # noqa: PLR2004
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004


def cell(text: str) -> str:
    """Return *text* for a CSV cell: a spreadsheet will not take it for a formula."""
    seen = clean(text, keep="\n\t")
    if seen.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(seen):
        return f"'{seen}"
    return seen


def width(text: str) -> int:
    """Return how many columns of a terminal *text* takes; a Chinese character takes two."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, columns: int) -> str:
    """Return *text* cut to at most *columns* terminal columns, with ``…`` where it was cut."""
    if width(text) <= columns:
        return text
    taken: list[str] = []
    room = columns - 1
    for char in text:
        room -= _columns(char)
        if room < 0:
            break
        taken.append(char)
    return "".join(taken) + "…" if columns > 0 else ""
