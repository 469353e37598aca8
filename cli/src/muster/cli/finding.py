"""Runs and their targets, by the names that people type."""

from collections.abc import Sequence

from muster.cli import human
from muster.cli.client import Client, path
from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t
from muster.cli.tables import Row


def find(client: Client, run: str) -> Row:
    """Return a run by its id or the beginning of it."""
    wanted = run.lower()
    if not (4 <= len(wanted) <= 26 and wanted.isascii() and wanted.isalnum()):  # noqa: PLR2004
        raise Failure(t("runs.id_wrong", run=human.safe(run)), code=Exit.NOTHING)
    told: Row = client.get(path("runs", wanted))
    return told


def targets_named(told: Row, names: Sequence[str]) -> list[Row]:
    """Return the targets of a run that are called *names*, by name or id."""
    chosen: list[Row] = []
    for name in names:
        found = [one for one in told["targets"] if name in {one["name"], one["node"]}]
        if not found:
            raise Failure(t("runs.no_target", node=human.safe(name)), code=Exit.NOTHING)
        chosen += found
    return chosen
