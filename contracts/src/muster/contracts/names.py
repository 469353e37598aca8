"""Constrained types: what may name a thing, so that no `*` or dot ever reaches a subject."""

import re
import secrets
import time
from typing import Annotated, Final

from pydantic import AwareDatetime, Field, StringConstraints

TOKEN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}$"
_CROCKFORD: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE32: Final = "abcdefghijklmnopqrstuvwxyz234567"

Token = Annotated[str, StringConstraints(pattern=TOKEN)]
"""Anything that may stand in a subject."""

NodeId = Annotated[str, StringConstraints(pattern=r"^n[a-z2-7]{16}$")]
"""Opaque, never used again: `n` and 16 base32 characters."""

Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-hjkmnp-tv-z]{26}$")]
"""A ULID in lower case: sorts by time. https://github.com/ulid/spec"""

RESERVED: Final = frozenset({"all", "and", "in", "not", "or"})
"""Words of selectors, which no node may have as its name."""

NodeName = Annotated[str, StringConstraints(pattern=TOKEN)]
"""A name for people; unique, may change."""

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,62}$")]
"""A group, a tag's key or a tag's value."""

Username = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]
TEXT: Final = r"^[^\x00]*$"
"""Anything but NUL, which PostgreSQL cannot store."""

ShortText = Annotated[str, StringConstraints(max_length=200)]
LongText = Annotated[str, StringConstraints(max_length=4000)]
Hostile = Annotated[str, StringConstraints(max_length=1000)]
"""Text that a node made up: escape it wherever it is shown."""

Note = Annotated[str, StringConstraints(max_length=200, pattern=TEXT)]
"""A line that a person writes, and that is kept as it is."""

Password = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
PublicKey = Annotated[str, StringConstraints(pattern=r"^U[A-Z2-7]{55}$")]
"""The public half of a NATS user nkey."""

Time = AwareDatetime
Seconds = Annotated[float, Field(gt=0, le=366 * 86400)]
LARGEST: Final = 1 << 53
"""The largest whole number that every reader of JSON, and every database, holds exactly."""

Int = Annotated[int, Field(ge=-LARGEST, le=LARGEST)]
Count = Annotated[int, Field(ge=0, le=LARGEST)]
Limit = Annotated[int, Field(ge=1, le=1000)]
"""How many rows a page may hold."""


def new_id(now: float | None = None) -> str:
    """Return a fresh ULID; *now* is Unix time in seconds."""
    millis = round((time.time() if now is None else now) * 1000)
    number = (millis << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def new_node_id() -> str:
    """Return a fresh node id: 80 random bits."""
    return "n" + "".join(secrets.choice(_BASE32) for _ in range(16))


def to_node_name(text: str) -> str:
    """Make a node name out of a host name that may hold anything."""
    slug = re.sub(r"[^a-z0-9_-]+", "-", text.split(".", maxsplit=1)[0].lower()).strip("-_")
    return "node" if slug in RESERVED else slug[:48] or "node"
