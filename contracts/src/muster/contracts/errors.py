"""The closed set of errors that cross the bus and the edge.

Each has a code for programs, an HTTP status for the edge (RFC 9457) and a text that says
what to do.
"""

from typing import ClassVar


class MusterError(Exception):
    """An expected refusal; the text is for the person who asked."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500


class Malformed(MusterError):
    """The question does not fit its contract."""

    code = "malformed"
    status = 400


class Unauthenticated(MusterError):
    """Nobody knows who is asking: log in, or log in again."""

    code = "unauthenticated"
    status = 401


class SecondFactor(Unauthenticated):
    """Name and password are right, but a code of the second factor is needed as well."""

    code = "second_factor"


class Superseded(Unauthenticated):
    """What the person may do has changed since the ticket was given: exchange for a new one."""

    code = "superseded"


class Denied(MusterError):
    """Who is asking may not do this."""

    code = "denied"
    status = 403


class NotFound(MusterError):
    """There is no such thing, or it is not for the one who asks."""

    code = "not_found"
    status = 404


class Conflict(MusterError):
    """The thing is not in a state that allows this."""

    code = "conflict"
    status = 409


class Expired(MusterError):
    """It was valid once: ask for a new one."""

    code = "expired"
    status = 410


class TooLarge(MusterError):
    """More than fits in one message."""

    code = "too_large"
    status = 413


class TooMany(MusterError):
    """Too often: wait and try again."""

    code = "too_many"
    status = 429


class Unavailable(MusterError):
    """A part that is needed does not answer at the moment."""

    code = "unavailable"
    status = 503


class NoAnswer(MusterError):
    """It was sent, but no answer came in time: it may or may not have been done."""

    code = "no_answer"
    status = 504


def _tree(kind: type[MusterError]) -> list[type[MusterError]]:
    return [kind, *(sub for direct in kind.__subclasses__() for sub in _tree(direct))]


BY_CODE: dict[str, type[MusterError]] = {kind.code: kind for kind in _tree(MusterError)}
