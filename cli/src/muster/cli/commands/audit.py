"""``muster audit``: who did what, and whether the record is whole."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TextIO, TypeVar

import click

from muster.cli import human
from muster.cli.client import path
from muster.cli.completing import complete_nodes
from muster.cli.durations import Duration
from muster.cli.failures import Exit, Failure
from muster.cli.folding import fold
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option, one_option, to_json
from muster.kit.linking import GENESIS, link

_PAGE: Final = 1000
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
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
    emit(form, _newest(session, limit, who=who, action=action), COLUMNS, name="seq")


def _newest(session: Session, limit: int, **wanted: Any) -> list[Row]:
    rows: list[Row] = []
    before: int | None = None
    while len(rows) < limit:
        size = min(limit - len(rows), _PAGE)
        page = session.client.get("/audit", limit=size, before=before, **wanted)
        rows += page["items"]
        before = page.get("next")
        if before is None:
            break
    return rows


def wishes(command: Decorated) -> Decorated:
    """Let a command choose records."""
    for option in (
        click.option("--until", type=Duration(), metavar=t("meta.duration"),
                     help=t("audit.until")),
        click.option("--since", type=Duration(), metavar=t("meta.duration"),
                     help=t("audit.since")),
        click.option("--node", default="", shell_complete=complete_nodes, metavar=t("meta.node"),
                     help=t("audit.node")),
        click.option("--result", default="", metavar=t("meta.text"), help=t("audit.result")),
        click.option("--action", default="", metavar=t("meta.action"), help=t("audit.ls.action")),
        click.option("--who", default="", metavar=t("meta.user"), help=t("audit.ls.who")),
    ):  # fmt: skip
        command = option(command)
    return command


def _asked(session: Session, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return what the API is asked for: times instead of spans, a node's id instead of its name."""
    now = datetime.now(UTC)
    for name in ("since", "until"):
        if wanted.get(name) is not None:
            wanted[name] = (now - timedelta(seconds=wanted[name])).isoformat()
    if wanted.get("node"):
        wanted["node"] = session.client.get(path("nodes", wanted["node"]))["id"]
    return wanted


@audit.command("search", help=t("audit.search.help"))
@click.argument("text", default="", metavar=t("meta.query"))
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=50, show_default=True, help=t("opt.limit")
)
@wishes
@form_option
@connected
def search(session: Session, /, text: str, limit: int, form: str, **wanted: Any) -> None:
    """Find records by anything that is in them, newest first."""
    emit(form, _newest(session, limit, text=text, **_asked(session, wanted)), COLUMNS, name="seq")


@audit.command("export", help=t("audit.export.help"))
@wishes
@click.option("--after", type=click.IntRange(0), default=0, help=t("audit.export.after"))
@click.option(
    "--format",
    "form",
    type=click.Choice(("jsonl", "csv")),
    default="jsonl",
    show_default=True,
    help=t("opt.output.list"),
)
@connected
def export(session: Session, /, after: int, form: str, **wanted: Any) -> None:
    """Write records to stdout, oldest first; a spreadsheet finds no formula in them."""
    asked = _asked(session, wanted)
    first = True
    while True:
        page = session.client.get("/audit", limit=_PAGE, after=str(after), **asked)
        if page["items"] or first:
            emit(form, page["items"], COLUMNS, name="seq", head=first)
        first = False
        if page.get("next") is None:
            return
        after = page["items"][-1]["seq"]


@audit.command("check", help=t("audit.check.help"))
@click.argument("file", type=click.File("r", encoding="utf-8"), metavar=t("meta.export"))
def check(file: TextIO) -> int:
    """Check an exported file without any server."""
    previous: str | None = None
    number = 0
    for line in file:
        try:
            row = json.loads(line)
            told, row["at"] = row.pop("hash"), datetime.fromisoformat(row["at"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(t("audit.check.none"), code=Exit.USAGE) from error
        start = GENESIS if row["seq"] == 1 else previous
        if (start is not None and link(start, row) != told) or row["seq"] <= number:
            click.echo(t("audit.broken", seq=row["seq"]))
            return Exit.ERROR
        previous, number = told, row["seq"]
    click.echo(t("audit.whole", n=number, head=human.safe(previous or "")[:16]))
    return Exit.OK


@audit.command("verify", help=t("audit.verify.help"))
@one_option
@connected
def verify(session: Session, /, form: str) -> int:
    """Check that nothing was changed, removed or re-ordered."""
    told = session.client.get("/audit/verify")
    complaint = told.get("complaint")
    broken = told.get("broken_at")
    if form == "json":
        click.echo(to_json(told, indent=2))
    elif complaint:
        click.echo(human.safe(complaint))
    elif broken is None:
        click.echo(t("audit.whole", n=told["records"], head=human.safe(told["head"])[:16]))
        when = human.ago(told.get("signed"))
        click.echo(t("audit.heads", n=told.get("heads", 0), when=when), err=True)
    else:
        click.echo(t("audit.broken", seq=broken))
    return Exit.ERROR if broken is not None or complaint else Exit.OK


@audit.command("node", help=t("audit.node.help"))
@click.argument("node", shell_complete=complete_nodes, metavar=t("meta.node"))
@one_option
@connected
def node(session: Session, /, node: str, form: str) -> int:
    """Compare what a node has executed, by its own record, with what was signed for it."""
    told = session.client.get(path("nodes", node, "record"))
    wrong = told.get("broken_at") is not None or told.get("complaint") or told["unsigned"]
    if form == "json":
        click.echo(to_json(told, indent=2))
        return Exit.ERROR if wrong else Exit.OK
    if told.get("broken_at") is not None:
        click.echo(t("audit.broken", seq=told["broken_at"]))
    if told.get("complaint"):
        click.echo(human.safe(told["complaint"]))
    for one in told["unsigned"]:
        click.echo(t("audit.node.unsigned", run=one["run"], at=human.local(one["at"])))
    for one in told["unseen"]:
        who = human.safe(one["who"])
        click.echo(
            t("audit.node.unseen", run=one["run"], at=human.local(one["at"]), who=who), err=True
        )
    if not wrong:
        head = human.safe(told["hash"])[:16]
        click.echo(t("audit.node.whole", n=told["records"], head=head))
    return Exit.ERROR if wrong else Exit.OK
