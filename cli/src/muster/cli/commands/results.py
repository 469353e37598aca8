"""``muster runs files`` and ``muster runs fetch``: what a command left on its nodes."""

import http.client
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from muster.cli import human
from muster.cli.client import Client
from muster.cli.client import path as api_path
from muster.cli.completing import complete_nodes, complete_runs
from muster.cli.failures import Exit, Failure
from muster.cli.fetching import folder_of, parts_of, store
from muster.cli.finding import find, targets_named
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option
from muster.cli.terminals import is_person

_READ: Final = 1 << 18


@dataclass(frozen=True)
class _File:
    """One file on one node."""

    node: str
    name: str
    path: str
    size: int
    output: bool


COLUMNS: Final = (
    Column("node", lambda row: row["node"]),
    Column("kind", lambda row: row["kind"], lambda row: t(f"kind.{row['kind']}"), rank=2),
    Column("path", lambda row: row["path"]),
    Column("size", lambda row: row["size"], lambda row: human.size(row["size"]), right=True),
    Column(
        "modified", lambda row: row["modified"], lambda row: human.local(row["modified"]), rank=1
    ),
)


@click.command("files", help=t("runs.files.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@click.argument("node", default="", shell_complete=complete_nodes, metavar=t("meta.maybe_node"))
@form_option
@connected
def files(session: Session, /, run: str, node: str, form: str) -> int:
    """List the result files of a run."""
    told = find(session.client, run)
    chosen = targets_named(told, [node]) if node else told["targets"]
    rows: list[Row] = []
    trouble = False
    for target in chosen:
        try:
            rows += _rows(session.client, told["id"], target)
        except Failure as error:
            if len(chosen) == 1:
                raise
            trouble = True
            click.echo(f"{human.safe(target['name'])}: {error.text}", err=True)
    emit(form, rows, COLUMNS, name="path")
    return Exit.FAILED if trouble else Exit.OK


def _rows(client: Client, run: str, target: Row) -> list[Row]:
    listing = client.get(api_path("runs", run, "files", target["node"]))
    if listing.get("truncated"):
        click.echo(t("fetch.truncated", node=human.safe(target["name"])), err=True)
    return [
        {"node": target["name"], "kind": kind, **file}
        for kind, group in (("result", "items"), ("output", "outputs"))
        for file in listing.get(group) or ()
    ]


@click.command("fetch", help=t("runs.fetch.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@click.argument("words", nargs=-1, shell_complete=complete_nodes, metavar=t("meta.node_and_paths"))
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), help=t("runs.fetch.to"))
@click.option("--output", is_flag=True, help=t("runs.fetch.output"))
@click.option("--overwrite", is_flag=True, help=t("runs.fetch.overwrite"))
@connected
def fetch(  # one argument per option
    session: Session,
    /,
    run: str,
    words: tuple[str, ...],
    to: Path | None,
    *,
    output: bool,
    overwrite: bool,
) -> int:
    """Bring result files, or the full outputs, of a run."""
    told = find(session.client, run)
    targets, paths = _meant(told, words)
    wanted, trouble = _wanted(session.client, told["id"], targets, paths, output=output)
    if not wanted and not trouble:
        raise Failure(t("fetch.nothing"), code=Exit.NOTHING)
    place = to or Path(told["id"])
    with _progress(sum(file.size for file in wanted)) as told_size:
        for file in wanted:
            try:
                _bring(session.client, told["id"], file, place, told_size, overwrite=overwrite)
            except Failure as error:
                trouble = True
                click.echo(f"{human.safe(file.name)}: {error.text}", err=True)
    return Exit.FAILED if trouble else Exit.OK


def _meant(told: Row, words: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Return the targets and the paths: the first word may name a node."""
    known = {name for one in told["targets"] for name in (one["name"], one["node"])}
    if words and words[0] in known:
        return targets_named(told, words[:1]), list(words[1:])
    return told["targets"], list(words)


def _wanted(
    client: Client, run: str, targets: Sequence[Row], paths: Sequence[str], *, output: bool
) -> tuple[list[_File], bool]:
    """Return the files to bring, and whether a node could not say which it has."""
    found: list[_File] = []
    trouble = False
    for target in targets:
        try:
            rows = _rows(client, run, target)
        except Failure as error:
            trouble = True
            click.echo(f"{human.safe(target['name'])}: {error.text}", err=True)
            continue
        kind = "output" if output else "result"
        mine = [row for row in rows if row["kind"] == kind and _chosen(row["path"], paths)]
        found += [
            _File(target["node"], target["name"], str(row["path"]), int(row["size"]), output)
            for row in mine
        ]
    return found, trouble


def _chosen(path: str, paths: Sequence[str]) -> bool:
    """Whether *path* is asked for: itself, or a folder above it; without a wish, all are."""
    wishes = [wish.rstrip("/") for wish in paths]
    return not wishes or any(path == wish or path.startswith(f"{wish}/") for wish in wishes)


def _bring(
    client: Client,
    run: str,
    file: _File,
    to: Path,
    told_size: Callable[[int], None],
    *,
    overwrite: bool,
) -> None:
    """Bring one file; outputs lie beside the node's folder, where no result file can be."""
    folder = folder_of(file.name, file.node)
    parts = parts_of(file.path)
    parts = [f"{folder}.{parts[-1]}"] if file.output else [folder, *parts]
    where = api_path("runs", run, "files", file.node, "content")
    with client.stream(where, path=file.path, output=str(file.output).lower()) as response:
        stored = store(to, parts, _pieces(response), overwrite=overwrite, told=told_size)
    click.echo(human.safe(stored))


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield the body; a body that breaks off is an error, never a shorter file."""
    try:
        while data := response.read1(_READ):
            yield data
        if response.length:
            raise Failure(t("fetch.broken"), code=Exit.NO_ANSWER)
    except (http.client.HTTPException, OSError) as error:
        raise Failure(t("fetch.broken"), code=Exit.NO_ANSWER) from error


def _ignore(size: int) -> None:
    """Leave it."""
    del size


@contextmanager
def _progress(total: int) -> Generator[Callable[[int], None]]:
    """Show a bar to a person."""
    if not is_person(sys.stderr):
        yield _ignore
        return
    from rich.console import Console  # noqa: PLC0415  # start-up time
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn  # noqa: PLC0415

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)
        yield lambda size: bar.advance(task, size)
