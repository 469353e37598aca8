"""What the two parts say to each other: JSON behind four bytes of length (big-endian)."""

import asyncio
from typing import Annotated, Final, Literal

from pydantic import Field

from muster.agent.journal import Ended
from muster.contracts.allowed import Allowed
from muster.contracts.authority import KeyNotice
from muster.contracts.base import Message
from muster.contracts.errors import TooLarge
from muster.contracts.names import Id, Int
from muster.contracts.records import NodeRecords
from muster.contracts.runs import FilePart, ReadAsk, ResultFiles
from muster.kit import wire

MOST: Final = 8 << 20
"""Bytes of one message: a command with its input, in base64, and room."""
_LENGTH: Final = 4


class Ask(Message):
    """What the part on the network wants; which field belongs to what is in the comments."""

    number: Int
    """Comes back in the answer; answers come in any order."""
    do: Literal["start", "wait", "cancel", "read", "records", "learn", "allowed", "sweep"]
    order: bytes = b""
    """`start`, `cancel`, `records`: the signed command."""
    run: Id | None = None
    """`wait`: whose end is waited for."""
    read: ReadAsk | None = None
    notices: Annotated[list[KeyNotice], Field(max_length=1000)] = []
    keep: Annotated[list[Id], Field(max_length=100_000)] = []
    """`sweep`: runs whose files are still needed."""


class Answer(Message):
    """What the helper says: an error of `contracts.errors`, or what was asked for."""

    number: Int
    error: str = ""
    """Its code."""
    text: str = ""
    ended: Ended | None = None
    files: ResultFiles | None = None
    part: FilePart | None = None
    records: NodeRecords | None = None
    allowed: Allowed | None = None
    trouble: str = ""
    """Why no command can be obeyed at the moment."""
    count: Int = 0


def framed(message: Message) -> bytes:
    """Return *message* as it crosses the socket."""
    body = wire.pack(message)
    return len(body).to_bytes(_LENGTH, "big") + body


async def next_frame(reader: asyncio.StreamReader) -> bytes:
    """Return the next message; raise `EOFError` at the end, `TooLarge` if it cannot be one."""
    length = int.from_bytes(await reader.readexactly(_LENGTH), "big")
    if length > MOST:
        raise TooLarge(f"a message of {length} bytes")
    return await reader.readexactly(length)
