"""``muster audit``: who did what, and whether the record is whole."""

from typing import Final

import click

from muster.cli import human
from muster.cli.failures import Exit
from muster.cli.folding import fold
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option, one_option, to_json

_PAGE: Final = 1000
_WIDE: Final = 60

COLUMNS: Final = (
    Column("seq", lambda row: row["seq"], right=True),
    Column("at", lambda row: row["at"], lambda row: human.local(row["at"])),
    Column("who", lambda row: row["who"]),
    Column("action", lambda row: row["action"]),
    Column(
        "nodes", lambda row: " ".join(row["nodes"]), lambda row: fold(row["nodes"])[:_WIDE], rank=2
    ),
    Column(
        "result",
        lambda row: row["result"],
        style=lambda row: "" if row["result"] == "ok" else "red",
    ),
    Column(
        "detail",
        lambda row: row.get("detail"),
        lambda row: human.safe(row.get("detail"))[:_WIDE],
        rank=1,
    ),
    Column("run", lambda row: row.get("run"), rank=4),
    Column("address", lambda row: row.get("address"), rank=3),
)


@click.group(help=t("audit.help"))
def audit() -> None:
    """See who did what."""


@audit.command("ls", help=t("audit.ls.help"))
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help=t("opt.limit")
)
@click.option("--who", default="", help=t("audit.ls.who"))
@click.option("--action", default="", help=t("audit.ls.action"))
@form_option
@connected
def ls(session: Session, /, limit: int, who: str, action: str, form: str) -> None:
    """List what was done, newest first."""
    rows: list[Row] = []
    before: int | None = None
    while len(rows) < limit:
        page = session.client.get(
            "/audit", limit=min(limit - len(rows), _PAGE), before=before, who=who, action=action
        )
        rows += page["items"]
        before = page.get("next")
        if before is None:
            break
    emit(form, rows, COLUMNS, name="seq")


@audit.command("verify", help=t("audit.verify.help"))
@one_option
@connected
def verify(session: Session, /, form: str) -> int:
    """Check that nothing was changed, removed or re-ordered."""
    told = session.client.get("/audit/verify")
    broken = told.get("broken_at")
    if form == "json":
        click.echo(to_json(told, indent=2))
    elif broken is None:
        click.echo(t("audit.whole", n=told["records"], head=human.safe(told["head"])[:16]))
    else:
        click.echo(t("audit.broken", seq=broken))
    return Exit.OK if broken is None else Exit.ERROR
