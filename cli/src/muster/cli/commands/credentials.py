"""``muster token`` and ``muster session``: the ways in that one has, and how to end them."""

from typing import Final

import click

from muster.cli import human
from muster.cli.client import path
from muster.cli.durations import Duration
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option, one_option, to_json

_SHARED: Final = (
    Column("id", lambda row: row["id"]),
    Column("user", lambda row: row["person"], rank=5),
)
_TIMES: Final = (
    Column("created", lambda row: row["created"], lambda row: human.local(row["created"]), rank=3),
    Column("seen", lambda row: row["seen"], lambda row: human.ago(row["seen"]), rank=1),
    Column("expires", lambda row: row["expires"], lambda row: human.local(row["expires"]), rank=2),
)
TOKENS: Final = (
    *_SHARED,
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("kind", lambda row: row["kind"], lambda row: t(f"token_kind.{row['kind']}"), rank=4),
    Column("scopes", lambda row: ",".join(row["scopes"])),
    *_TIMES,
)
SESSIONS: Final = (
    *_SHARED,
    *_TIMES,
    Column("address", lambda row: row["address"]),
    Column("agent", lambda row: row["agent"], lambda row: row["agent"][:40], rank=4),
    Column("current", lambda row: row["current"], lambda row: "✓" if row["current"] else ""),
)


def _list(session: Session, user: str, *kinds: str) -> list[Row]:
    where = path("users", user, "credentials") if user else "/me/credentials"
    return [row for row in session.client.get(where)["items"] if row["kind"] in kinds]


def _end(session: Session, ids: tuple[str, ...]) -> None:
    for one in ids:
        session.client.send("DELETE", path("credentials", one))
        click.echo(t("credential.ended", id=human.safe(one)), err=True)


@click.group(help=t("api_token.help"))
def token() -> None:
    """Make and end API tokens."""


@token.command("ls", help=t("api_token.ls.help"))
@click.option("--user", default="", metavar=t("meta.user"), help=t("credential.user"))
@form_option
@connected
def tokens(session: Session, /, user: str, form: str) -> None:
    """List API tokens."""
    emit(form, _list(session, user, "token", "app"), TOKENS)


@token.command("new", help=t("api_token.new.help"))
@click.argument("name", metavar=t("meta.name"))
@click.option("--scope", "scopes", multiple=True, required=True, metavar=t("meta.action"),
              help=t("api_token.scope"))  # fmt: skip
@click.option("--ttl", type=Duration(), default="90d", show_default=True, help=t("api_token.ttl"))
@click.option("--app", is_flag=True, help=t("api_token.app"))
@one_option
@connected
def new(  # one argument per option
    session: Session, /, name: str, scopes: tuple[str, ...], ttl: float, form: str, *, app: bool
) -> None:
    """Make a token that acts as oneself within its scopes; print it once."""
    body = {"name": name, "scopes": list(scopes), "ttl": ttl, "app": app}
    told = session.client.send("POST", "/me/tokens", body)
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    click.echo(t("api_token.made", id=told["id"], span=human.until(told["expires"])), err=True)
    click.echo(told["secret"])


@token.command("rm", help=t("api_token.rm.help"))
@click.argument("ids", nargs=-1, required=True, metavar=t("meta.token_ids"))
@connected
def end_token(session: Session, /, ids: tuple[str, ...]) -> None:
    """End API tokens at once."""
    _end(session, ids)


@click.group(help=t("session.help"))
def session() -> None:
    """See and end sessions."""


@session.command("ls", help=t("session.ls.help"))
@click.option("--user", default="", metavar=t("meta.user"), help=t("credential.user"))
@form_option
@connected
def sessions(session: Session, /, user: str, form: str) -> None:
    """List sessions."""
    emit(form, _list(session, user, "session"), SESSIONS)


@session.command("rm", help=t("session.rm.help"))
@click.argument("ids", nargs=-1, required=True, metavar=t("meta.token_ids"))
@connected
def end_session(session: Session, /, ids: tuple[str, ...]) -> None:
    """End sessions at once."""
    _end(session, ids)
