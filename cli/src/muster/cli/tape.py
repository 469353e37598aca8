"""The pieces of one output, put in order: each byte once, and every hole noticed.

Events may repeat after a lost connection, and the middle of a very long output is not kept by
the server: the offset of a piece says both.
"""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

STREAMS: Final = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class Chunk:
    """New bytes of one output, and how many are missing before them."""

    node: str
    stream: str
    data: bytes
    missing: int = 0


@dataclass
class Tape:
    """How far each output has been read."""

    _at: dict[tuple[str, str], int] = field(default_factory=dict)

    def read(self, event: dict[str, Any]) -> Iterator[Chunk]:
        """Yield what is new in an event of a run."""
        node = str(event["target"]["node"])
        for piece in event.get("pieces") or ():
            stream, offset = str(piece["stream"]), int(piece["offset"])
            data = decode(piece["data"])
            at = self._at.get((node, stream), 0)
            fresh = data[max(0, at - offset) :] if offset < at else data
            if not fresh:
                continue
            missing = max(0, offset - at)
            self._at[node, stream] = at + missing + len(fresh)
            yield Chunk(node, stream, fresh, missing)

    def rest(self, target: dict[str, Any]) -> Iterator[Chunk]:
        """Yield the holes at the end of a target that is over."""
        node = str(target["node"])
        for stream in STREAMS:
            at = self._at.get((node, stream), 0)
            missing = int(target.get(stream) or 0) - at
            if missing > 0:
                self._at[node, stream] = at + missing
                yield Chunk(node, stream, b"", missing)


def decode(text: str) -> bytes:
    """Return the bytes that the API writes as base64."""
    return base64.b64decode(text, altchars=b"-_")


def encode(data: bytes) -> str:
    """Return *data* as the API wants it."""
    return base64.urlsafe_b64encode(data).decode()


def as_text(data: bytes) -> dict[str, str]:
    """Return *data* for JSON: as text if it is text, otherwise as base64."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}
