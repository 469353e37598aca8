"""Keyset cursors: where the next page begins, as an opaque text.

A cursor holds the sort values of the last row that was told, so a page is found by an index and
does not shift when rows come and go. See `muster.kit.sql.beyond` for the condition.
"""

import base64
import json
import math
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from muster.contracts.errors import Malformed

R = TypeVar("R")


def encode(*values: str | float | datetime) -> str:
    """Return the cursor after the row with these sort values."""
    plain = [v.isoformat() if isinstance(v, datetime) else v for v in values]
    text = json.dumps(plain, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(cursor: str, *kinds: type) -> tuple[Any, ...]:
    """Return the sort values in *cursor*, which a stranger may have made up.

    *kinds* are `str`, `int`, `float` or `datetime`; anything else is `Malformed`.
    """
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        return tuple(_value(v, kind) for v, kind in zip(json.loads(data), kinds, strict=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise Malformed("this is no cursor of such a list: begin at its first page") from error


def _value(value: object, kind: type) -> Any:
    if kind is datetime and isinstance(value, str):
        value = datetime.fromisoformat(value)
    if kind is float and type(value) is int:
        value = float(value) if _fits(value) else None
    if type(value) is not kind or not _fits(value):
        raise TypeError
    return value


def _fits(value: object) -> bool:
    """Whether a database can compare with *value*."""
    match value:
        case datetime():
            return value.tzinfo is not None
        case str():
            value.encode()  # raises at a lone surrogate
            return "\0" not in value
        case float():
            return math.isfinite(value)
        case int():
            return -(2**63) <= value < 2**63
    return False


def page(
    rows: Sequence[R], limit: int, key: Callable[[R], tuple[str | float | datetime, ...]]
) -> tuple[list[R], str]:
    """Split *rows*, of which one more than *limit* was asked for, into a page and its cursor."""
    items = list(rows[:limit])
    return items, encode(*key(items[-1])) if len(rows) > limit and items else ""
