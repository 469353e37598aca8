"""Lists in the form that the reader wants: a table for people, the rest for programs.

rich is imported only when a table is drawn. A table that is too wide loses its least important
columns, never the end of a name.
"""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import click

from muster.cli.i18n import t
from muster.cli.terminals import colours, is_person
from muster.cli.terminals import columns as terminal_columns
from muster.kit.text import cell as csv_cell
from muster.kit.text import clean, width

FORMS: Final = ("table", "json", "jsonl", "csv", "name")
_GAP: Final = 2
_UNBOUNDED: Final = 100_000

Row = dict[str, Any]
Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its name for programs, and what is in it."""

    name: str
    """The head in CSV; people see the text ``column.<name>``."""
    plain: Callable[[Row], object]
    """The value for programs."""
    shown: Callable[[Row], str] | None = None
    """The value for people, if it is another."""
    style: Callable[[Row], str] | None = None
    right: bool = False
    rank: int = 0
    """The highest ranks are left out first where there is no room; 0 stays."""

    def text(self, row: Row) -> str:
        """Return what people see, on one line and with nothing hidden in it."""
        value = (self.shown or self.plain)(row)
        return clean("" if value is None else str(value))


def form_option(command: Decorated) -> Decorated:
    """Let a command take ``-o``."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(FORMS),
        default="table",
        show_default=True,
        help=t("opt.output.list"),
    )(command)


def one_option(command: Decorated) -> Decorated:
    """Let a command that shows one thing take ``-o``."""
    return click.option(
        "-o",
        "--output",
        "form",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help=t("opt.output.one"),
    )(command)


def emit(
    form: str,
    rows: Sequence[Row],
    columns: Sequence[Column],
    name: str = "id",
    *,
    head: bool = True,
) -> None:
    """Write *rows* to stdout; *name* is the field that ``-o name`` prints.

    Without *head* a CSV goes on where another one has ended.
    """
    match form:
        case "json":
            click.echo(to_json(list(rows), indent=2))
        case "jsonl":
            for row in rows:
                click.echo(to_json(row))
        case "csv":
            _csv(rows, columns, head=head)
        case "name":
            for row in rows:
                click.echo(clean(str(row[name])))
        case _:
            draw(rows, columns)


def to_json(value: object, indent: int | None = None) -> str:
    """Return JSON in which hidden characters are written by their numbers."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if text.isascii():
        return text
    return "".join(
        char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
    )


def facts(pairs: Iterable[tuple[str, object]], *, err: bool = False) -> None:
    """Write what is known of one thing: a line for each fact that is one."""
    known = [(t(f"column.{name}"), clean(str(value))) for name, value in pairs if value]
    room = max((width(head) for head, _ in known), default=0) + _GAP
    for head, text in known:
        click.echo(f"{head}{' ' * (room - width(head))}{text}", err=err)


def _csv(rows: Iterable[Row], columns: Sequence[Column], *, head: bool) -> None:
    import csv  # noqa: PLC0415  # start-up time

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if head:
        writer.writerow([column.name for column in columns])
    for row in rows:
        values = (column.plain(row) for column in columns)
        writer.writerow(["" if value is None else csv_cell(str(value)) for value in values])


def draw(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """Draw a table as wide as the terminal; in a pipe as wide as it is."""
    from rich.console import Console  # noqa: PLC0415  # start-up time
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    room = terminal_columns() if is_person(sys.stdout) else _UNBOUNDED
    heads = {column.name: t(f"column.{column.name}") for column in columns}
    texts = {column.name: [column.text(row) for row in rows] for column in columns}
    kept = _fitting(columns, heads, texts, room)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in kept:
        table.add_column(
            Text(heads[column.name]),
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for index, row in enumerate(rows):
        table.add_row(
            *(
                Text(texts[column.name][index], style=column.style(row) if column.style else "")
                for column in kept
            )
        )
    Console(width=room, no_color=not colours(sys.stdout), highlight=False, soft_wrap=False).print(
        table
    )


def _fitting(
    columns: Sequence[Column], heads: dict[str, str], texts: dict[str, list[str]], room: int
) -> list[Column]:
    """Return the columns for which there is room."""
    wide = {
        name: max([width(heads[name]), *map(width, column)]) + _GAP
        for name, column in texts.items()
    }
    kept = list(columns)
    while sum(wide[column.name] for column in kept) - _GAP > room:
        least = max(kept, key=lambda column: column.rank)
        if least.rank == 0:
            break
        kept.remove(least)
    return kept
