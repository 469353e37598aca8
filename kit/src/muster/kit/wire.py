"""Contracts as bytes and headers: how questions, answers and refusals look on the bus."""

from collections.abc import Mapping
from typing import Final, TypeVar

from pydantic import ValidationError

from muster.contracts.base import Message
from muster.contracts.errors import BY_CODE, Malformed, MusterError

ERROR_CODE: Final = "Nats-Service-Error-Code"
ERROR_TEXT: Final = "Nats-Service-Error"
"""The error headers of NATS services, ADR-32."""

TICKET: Final = "Muster-Ticket"
_TEXT_LIMIT: Final = 2000

M = TypeVar("M", bound=Message)


def pack(message: Message) -> bytes:
    """Return *message* as JSON bytes."""
    return message.__pydantic_serializer__.to_json(message)


def unpack(kind: type[M], data: bytes) -> M:
    """Return *data* as a message of *kind*, or raise `Malformed` naming the places."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise Malformed(f"does not fit {kind.__name__}: {places(error)}") from error


def places(error: ValidationError) -> str:
    """Name what is wrong and where, without repeating the values (they may be secret)."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in found[:10]
    )


def refusal(error: MusterError) -> dict[str, str]:
    """Return the headers that carry *error*; a header holds one line."""
    text = " ".join(str(error).split())[:_TEXT_LIMIT]
    return {ERROR_CODE: error.code, ERROR_TEXT: text.encode("unicode_escape").decode()}


def raise_refusal(headers: Mapping[str, str] | None) -> None:
    """Raise the error that *headers* carry, if they carry one."""
    code = (headers or {}).get(ERROR_CODE)
    if code:
        text = (headers or {}).get(ERROR_TEXT, "")
        raise BY_CODE.get(code, MusterError)(
            text.encode("latin-1", "replace").decode("unicode_escape", "replace")
        )
