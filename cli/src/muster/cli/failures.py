"""Exit codes, and the one way in which a command fails.

The codes are a promise to scripts: README.md lists them.
"""

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """How a command ended, for programs."""

    OK = 0
    ERROR = 1
    USAGE = 2
    FAILED = 3
    """Some targets failed."""
    NOTHING = 4
    """Nothing matched: no such node, no such run, no such file."""
    NO_ANSWER = 5
    WAITING = 6
    """The waiting is over, the run goes on."""
    DENIED = 7
    CANCELLED = 11
    UNREACHABLE = 12
    INTERRUPTED = 130
    PIPE = 141
    """Whoever read our output has gone, as with ``| head``."""


OF_CODE: Final = {
    "malformed": Exit.USAGE,
    "unauthenticated": Exit.DENIED,
    "denied": Exit.DENIED,
    "not_found": Exit.NOTHING,
    "unavailable": Exit.UNREACHABLE,
    "no_answer": Exit.NO_ANSWER,
}
"""The exit code of an error code; every other is `Exit.ERROR`."""


class Failure(Exception):  # noqa: N818  # it is told to a person
    """An expected end: a sentence for the person, what to do about it, and an exit code."""

    def __init__(self, text: str, hint: str = "", code: Exit = Exit.ERROR) -> None:
        """Fail with *code*, saying *text* and *hint*."""
        super().__init__(text)
        self.text = text
        self.hint = hint
        self.code = code

    @property
    def passing(self) -> bool:
        """Whether it may go well a moment later: a part of the server is being restarted."""
        return self.code in {Exit.UNREACHABLE, Exit.NO_ANSWER}


class Unreachable(Failure):
    """The server does not answer at its address."""

    def __init__(self, text: str, hint: str = "") -> None:
        """Say that nobody is there."""
        super().__init__(text, hint, Exit.UNREACHABLE)
