"""``muster node token``: what a host needs to join, for once and for a short while."""

from typing import Any, Final

import click

from muster.cli import human
from muster.cli.client import path
from muster.cli.durations import Duration
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option, one_option, to_json


def _state(row: Row) -> str:
    if row.get("used"):
        return "used"
    return "expired" if human.until(row["expires"]) == "0s" else "open"


COLUMNS: Final = (
    Column("id", lambda row: row["id"]),
    Column("state", _state, lambda row: t(f"token_state.{_state(row)}")),
    Column("created", lambda row: row["created"], lambda row: human.ago(row["created"]), rank=2),
    Column("by", lambda row: row["created_by"], rank=3),
    Column("expires", lambda row: row["expires"], lambda row: human.local(row["expires"]), rank=1),
    Column("node", lambda row: row.get("node") or ""),
    Column("note", lambda row: row.get("note") or "", rank=4),
)


@click.group(invoke_without_command=True, help=t("token.help"))
@click.option("--ttl", type=Duration(), default="15m", show_default=True, help=t("token.ttl"))
@click.option("--name", default="", metavar=t("meta.name"), help=t("token.name"))
@click.option("--group", "groups", multiple=True, metavar=t("meta.group"), help=t("token.group"))
@click.option("--tag", "tags", multiple=True, metavar=t("meta.tag"), help=t("token.tag"))
@click.option("--note", default="", metavar=t("meta.text"), help=t("token.note"))
@click.option("--approve", is_flag=True, help=t("token.approve"))
@one_option
@connected
@click.pass_context
def token(  # noqa: PLR0913  # one argument per option
    ctx: click.Context,
    session: Session,
    /,
    *,
    ttl: float,
    name: str,
    groups: tuple[str, ...],
    tags: tuple[str, ...],
    note: str,
    approve: bool,
    form: str,
) -> None:
    """Make a join token and print the line that a host joins with."""
    from muster.cli.commands.node import pairs  # noqa: PLC0415  # they import each other

    if ctx.invoked_subcommand is not None:
        return
    body: dict[str, Any] = {"ttl": ttl, "groups": list(groups), "tags": pairs(tags), "note": note}
    body["approve"] = approve
    if name:
        body["name"] = name
    told = session.client.send("POST", "/join-tokens", body)
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    click.echo(t("token.how", span=human.until(told["expires"])), err=True)
    click.echo(told["command"])


@token.command("ls", help=t("token.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List join tokens, newest first."""
    emit(form, session.client.get("/join-tokens")["items"], COLUMNS)


@token.command("rm", help=t("token.rm.help"))
@click.argument("ids", nargs=-1, required=True, metavar=t("meta.token_ids"))
@connected
def rm(session: Session, /, ids: tuple[str, ...]) -> None:
    """Make join tokens worthless."""
    for one in ids:
        session.client.send("DELETE", path("join-tokens", one))
        click.echo(t("token.removed", id=human.safe(one)), err=True)
