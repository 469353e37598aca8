"""``muster factor``: the second factor of whoever has logged in."""

from typing import Final

import click

from muster.cli import human, terminals
from muster.cli.asking import ask, hidden
from muster.cli.client import path
from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option

COLUMNS: Final = (
    Column("id", lambda row: row["id"], rank=2),
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("created", lambda row: row["created"], lambda row: human.ago(row["created"]), rank=1),
    Column("used", lambda row: row.get("used"), lambda row: human.ago(row.get("used"))),
)


@click.group(help=t("factor.help"))
def factor() -> None:
    """Set up, show and drop one's second factor."""


@factor.command("add", help=t("factor.add.help"))
@connected
def add(session: Session, /) -> None:
    """Set up an authenticator app; from then on a login needs its code."""
    password = hidden(t("login.ask.password"))
    told = session.client.send("POST", "/me/factor", {"password": password})
    click.echo(t("factor.scan"), err=True)
    if terminals.can_ask():
        import segno  # noqa: PLC0415  # start-up time

        segno.make(told["uri"], error="l").terminal(compact=True, border=2)
    click.echo(f"{t('factor.secret')}  {told['secret']}", err=True)
    code = ask(t("login.ask.code"))
    _codes(session.client.send("POST", "/me/factor/confirm", {"code": code}))


@factor.command("show", help=t("factor.show.help"))
@connected
def show(session: Session, /) -> None:
    """Let this session do what needs a fresh second factor."""
    session.client.send("POST", "/me/factor/show", {"code": ask(t("login.ask.code"))})
    click.echo(t("factor.shown"), err=True)


@factor.command("recovery", help=t("factor.recovery.help"))
@connected
def recovery(session: Session, /) -> None:
    """Make new recovery codes; the old ones are worthless."""
    _codes(session.client.send("POST", "/me/factor/recovery", {"code": ask(t("login.ask.code"))}))


@factor.command("ls", help=t("factor.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List one's passkeys."""
    emit(form, session.client.get("/me/passkeys")["items"], COLUMNS, name="name")


@factor.command("rm", help=t("factor.rm.help"))
@click.argument("passkey", default="", metavar=t("meta.passkey"))
@connected
def rm(session: Session, /, passkey: str) -> None:
    """Do without the authenticator app, or without a passkey."""
    found = _passkey(session, passkey) if passkey else None
    body = {"password": hidden(t("login.ask.password"))}
    if found is None:
        session.client.send("POST", "/me/factor/drop", {**body, "code": ask(t("login.ask.code"))})
        click.echo(t("factor.removed"), err=True)
        return
    session.client.send("POST", path("me", "passkeys", found["id"], "drop"), body)
    click.echo(t("factor.passkey_removed", name=human.safe(found["name"])), err=True)


def _passkey(session: Session, wanted: str) -> Row:
    """Return one's passkey by its id or its name."""
    items: list[Row] = session.client.get("/me/passkeys")["items"]
    found = [one for one in items if wanted in {one["id"], one["name"]}]
    if len(found) == 1:
        return found[0]
    key = "factor.many" if found else "factor.no_passkey"
    raise Failure(t(key, name=human.safe(wanted)), code=Exit.NOTHING)


def _codes(told: dict[str, list[str]]) -> None:
    click.echo(t("factor.codes"), err=True)
    for code in told["codes"]:
        click.echo(code)
