"""``muster factor``: the second factor of whoever has logged in."""

import click

from muster.cli import terminals
from muster.cli.asking import ask, hidden
from muster.cli.i18n import t
from muster.cli.session import Session, connected


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


@factor.command("rm", help=t("factor.rm.help"))
@connected
def rm(session: Session, /) -> None:
    """Do without a second factor."""
    body = {"password": hidden(t("login.ask.password")), "code": ask(t("login.ask.code"))}
    session.client.send("POST", "/me/factor/drop", body)
    click.echo(t("factor.removed"), err=True)


def _codes(told: dict[str, list[str]]) -> None:
    click.echo(t("factor.codes"), err=True)
    for code in told["codes"]:
        click.echo(code)
