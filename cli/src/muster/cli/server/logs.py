"""`muster logs`: what the parts of the server have written."""

import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout
from muster.cli.server.place import data_dir_option


@click.command(help=t("server.logs.help"))
@data_dir_option
@click.argument("service", required=False)
@click.option("-f", "--follow", is_flag=True, help=t("server.logs.follow"))
@click.option("-n", "--lines", type=click.IntRange(0), default=50, help=t("server.logs.lines"))
def logs(data_dir: Path, service: str | None, *, follow: bool, lines: int) -> None:
    """Print the log of one part, or of all."""
    folder = Layout(data_dir.resolve()).logs
    files = sorted(folder.glob("*.log"))
    if service is not None:
        files = [file for file in files if file.stem == service]
    if not files:
        names = ", ".join(sorted(file.stem for file in folder.glob("*.log"))) or "-"
        raise click.ClickException(t("server.logs.none", names=names))
    prefix = len(files) > 1
    for file in files:
        with file.open(errors="replace") as text:
            for line in deque(text, maxlen=lines):
                _print(file, line, prefix=prefix)
    if follow:
        try:
            for file, line in _new_lines(files):
                _print(file, line, prefix=prefix)
        except KeyboardInterrupt:
            sys.exit(0)


def _print(file: Path, line: str, *, prefix: bool) -> None:
    click.echo(f"{file.stem}: {line.rstrip()}" if prefix else line.rstrip())


def _new_lines(files: list[Path]) -> Iterator[tuple[Path, str]]:
    places = {file: file.stat().st_size for file in files}
    while True:
        for file in files:
            size = file.stat().st_size if file.exists() else 0
            if size < places[file]:
                places[file] = 0
            if size > places[file]:
                with file.open(errors="replace") as text:
                    text.seek(places[file])
                    for line in text:
                        yield file, line
                    places[file] = text.tell()
        time.sleep(0.2)
