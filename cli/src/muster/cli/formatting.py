"""Help pages that keep their columns in Chinese, where a character takes two of them."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

import click

from muster.kit.text import width

_VERBATIM: Final = "\b"
_ATOM: Final = re.compile(
    r"\s+|[\u2e80-\u9fff\uff00-\uffef\u3000-\u303f\u2018-\u201d]|[^\s\u2e80-\u9fff\uff00-\uffef\u3000-\u303f\u2018-\u201d]+"
)
_NEVER_FIRST: Final = "，。；：、！？）】》”’…"  # noqa: RUF001
_LEAST: Final = 20


def wrap(text: str, room: int) -> list[str]:
    """Return *text* in lines of at most *room* columns; Chinese breaks between any two letters."""
    lines: list[str] = []
    line = ""
    for atom in _ATOM.findall(" ".join(text.split())):
        if width(line) + width(atom) > room and line.strip() and atom not in _NEVER_FIRST:
            lines.append(line.rstrip())
            line = ""
        line += atom if line or not atom.isspace() else ""
    return [*lines, line.rstrip()] if line.strip() else lines


class HelpFormatter(click.HelpFormatter):
    """Measures by columns instead of characters."""

    def write_text(self, text: str) -> None:
        """Write paragraphs; one that begins with a backspace character stays as it is."""
        room = max(self.width - self.current_indent, _LEAST)
        margin = " " * self.current_indent
        for index, paragraph in enumerate(text.strip("\n").split("\n\n")):
            if index:
                self.write("\n")
            verbatim = paragraph.startswith(_VERBATIM)
            lines = paragraph.split("\n")[1:] if verbatim else wrap(paragraph, room)
            for line in lines:
                self.write(f"{margin}{line}\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write names and what they mean in two columns."""
        pairs: Sequence[tuple[str, str]] = list(rows)
        first = min(max((width(name) for name, _ in pairs), default=0), col_max) + col_spacing
        room = max(self.width - self.current_indent - first - 2, _LEAST)
        margin = " " * self.current_indent
        for name, meaning in pairs:
            lines = wrap(meaning, room) or [""]
            if width(name) > first - col_spacing:
                self.write(f"{margin}{name}\n{margin}{' ' * first}{lines[0]}\n")
            else:
                self.write(f"{margin}{name}{' ' * (first - width(name))}{lines[0]}\n")
            for line in lines[1:]:
                self.write(f"{margin}{' ' * first}{line}\n")
