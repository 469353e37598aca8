"""``muster approval``: four eyes."""

from typing import Final

import click

from muster.cli import human
from muster.cli.client import path
from muster.cli.finding import find
from muster.cli.folding import fold
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option

_WIDE: Final = 60
_STYLES: Final = {"pending": "yellow", "approved": "green", "refused": "red"}
COLUMNS: Final = (
    Column("run", lambda row: row["run"]),
    Column("by", lambda row: row["by"], style=lambda row: "bold"),  # noqa: ARG005
    Column(
        "state",
        lambda row: row["state"],
        lambda row: t(f"approval_state.{row['state']}"),
        lambda row: _STYLES.get(row["state"], "dim"),
    ),
    Column("nodes", lambda row: " ".join(row["nodes"]), lambda row: fold(row["nodes"])[:_WIDE]),
    Column("command", lambda row: row["summary"], lambda row: human.safe(row["summary"])[:_WIDE]),
    Column("run_as", lambda row: row["run_as"], rank=3),
    Column("created", lambda row: row["created"], lambda row: human.ago(row["created"]), rank=2),
    Column("expires", lambda row: row["expires"], lambda row: human.local(row["expires"]), rank=1),
    Column("decided_by", lambda row: row["decided_by"], rank=4),
    Column("reason_given", lambda row: row["reason"], rank=5),
)


@click.group(help=t("approval.help"))
def approval() -> None:
    """Decide what others want to run."""


@approval.command("ls", help=t("approval.ls.help"))
@click.option("--all", "-a", "every", is_flag=True, help=t("approval.ls.all"))
@form_option
@connected
def ls(session: Session, /, *, every: bool, form: str) -> None:
    """List approvals, newest first."""
    states = ("pending", "approved", "refused", "expired", "withdrawn") if every else ("pending",)
    rows: list[Row] = []
    for state in states:
        rows += session.client.get("/approvals", state=state)["items"]
    rows.sort(key=lambda row: str(row["run"]), reverse=True)
    emit(form, rows, COLUMNS, name="run")


@approval.command("approve", help=t("approval.approve.help"))
@click.argument("runs", nargs=-1, required=True, metavar=t("meta.run_ids"))
@click.option("--reason", default="", metavar=t("meta.text"), help=t("approval.approve.reason"))
@connected
def approve(session: Session, /, runs: tuple[str, ...], reason: str) -> None:
    """Let runs of others begin."""
    for run in runs:
        whole = _whole(session, run)
        session.client.send("POST", path("approvals", whole, "approve"), {"reason": reason})
        click.echo(t("approval.approved", run=whole), err=True)


@approval.command("refuse", help=t("approval.refuse.help"))
@click.argument("runs", nargs=-1, required=True, metavar=t("meta.run_ids"))
@click.option("--reason", required=True, metavar=t("meta.text"), help=t("approval.refuse.reason"))
@connected
def refuse(session: Session, /, runs: tuple[str, ...], reason: str) -> None:
    """Let runs of others never begin."""
    for run in runs:
        whole = _whole(session, run)
        session.client.send("POST", path("approvals", whole, "refuse"), {"reason": reason})
        click.echo(t("approval.refused", run=whole), err=True)


def _whole(session: Session, run: str) -> str:
    """Return the whole id of a run that waits, from its beginning."""
    waiting = [str(row["run"]) for row in session.client.get("/approvals")["items"]]
    found = [one for one in waiting if one.startswith(run)]
    return found[0] if len(found) == 1 else str(find(session.client, run)["id"])
