"""Bytes that strangers wrote, as downloads: never shown by the browser, never held in memory.

An answer that cannot be completed is broken off, so that nobody takes half a file for a whole.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final
from urllib.parse import quote

from fastapi.responses import Response, StreamingResponse

from muster.contracts.errors import Conflict
from muster.contracts.runs import READ_FILE, READ_OUTPUT, FilePart, Output, ReadFile, ReadOutput
from muster.gateway.people import Visitor

_TYPE: Final = "application/octet-stream"
_CONTENT: Final = {_TYPE: {"schema": {"type": "string", "format": "binary"}}}
BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The bytes", "content": _CONTENT}
}
"""What the OpenAPI document says of such an answer."""


def headers(name: str) -> dict[str, str]:
    """Return the headers of a download called *name*, which may hold anything (RFC 6266)."""
    plain = "".join(
        char if char.isascii() and char.isprintable() and char not in '"\\%;' else "_"
        for char in name
    )
    return {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{_quote(name)}",
        "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    }


def _quote(name: str) -> str:
    return quote(name.encode("utf-8", "replace"), safe="")


def file(me: Visitor, ask: ReadFile, first: FilePart) -> Response:
    """Return a file of a node as a download that begins with the part *first*."""
    name = f"{ask.run}-{ask.node}-{ask.path}" if ask.output else ask.path.rsplit("/", 1)[-1]
    sent = {"Content-Length": str(first.size), **headers(name or "file")}
    return StreamingResponse(_parts(me, ask, first), headers=sent, media_type=_TYPE)


async def _parts(me: Visitor, ask: ReadFile, first: FilePart) -> AsyncGenerator[bytes]:
    part, offset = first, 0
    while True:
        offset += len(part.data)
        if part.size != first.size or offset > part.size:
            raise Conflict("the file has changed while it was read")
        yield part.data
        if offset == first.size:
            return
        if not part.data:
            raise Conflict("the file ended before its size")
        asked = ask.model_copy(update={"offset": offset})
        part = await me.ask(READ_FILE, asked, timeout=20)


def output_part(part: Output) -> Response:
    """Return one part of a stored output, exactly as it is."""
    return Response(part.data, headers=_told(part), media_type=_TYPE)


def output(me: Visitor, ask: ReadOutput, first: Output) -> Response:
    """Return everything that is stored of an output."""
    sent = _told(first) | headers(f"{ask.run}-{ask.node}-{ask.stream}.txt")
    return StreamingResponse(_stored(me, ask, first), headers=sent, media_type=_TYPE)


def _told(part: Output) -> dict[str, str]:
    return {
        "Muster-Offset": str(part.offset),
        "Muster-Size": str(part.size),
        "Muster-End": "true" if part.end else "false",
        **headers("output.txt"),
    }


async def _stored(me: Visitor, ask: ReadOutput, first: Output) -> AsyncGenerator[bytes]:
    part, offset = first, ask.offset
    while True:
        if part.offset > offset:
            yield f"\n[muster: {part.offset - offset} bytes are not stored here]\n".encode()
        yield part.data
        offset = part.offset + len(part.data)
        if part.end or not part.data:
            return
        asked = ask.model_copy(update={"offset": offset})
        part = await me.ask(READ_OUTPUT, asked)
