"""What the two outputs can show: colours, width, and whether a person is looking."""

import os
import shutil
import sys
from typing import Any, Final

_COLOURS: Final = ("36", "33", "32", "35", "34", "96", "93", "92", "95", "94")


def is_person(stream: Any) -> bool:
    """Whether *stream* is a terminal."""
    try:
        return bool(stream.isatty())
    except ValueError:  # it is closed
        return False


def colours(stream: Any) -> bool:
    """Whether *stream* wants colours, https://no-color.org asked."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_person(stream) and not plain


def can_ask() -> bool:
    """Whether there is a person to answer a question."""
    return is_person(sys.stdin) and is_person(sys.stderr)


def columns() -> int:
    """Return how wide the terminal is."""
    return shutil.get_terminal_size((100, 24)).columns


def paint(text: str, index: int) -> str:
    """Return *text* in one of the colours that tell nodes apart."""
    return f"\x1b[{_COLOURS[index % len(_COLOURS)]}m{text}\x1b[0m"


def forget_stdout() -> None:
    """Point stdout to nowhere, so that the interpreter's last flush finds no closed pipe."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
