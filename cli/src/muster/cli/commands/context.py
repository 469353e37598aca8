"""``muster context``: which server the command line speaks with."""

from pathlib import Path
from typing import Final

import click

from muster.cli import context as one_context
from muster.cli import contexts, human
from muster.cli.failures import Failure
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, facts, form_option, one_option, to_json

COLUMNS: Final = (
    Column("current", lambda row: row["current"], lambda row: "●" if row["current"] else ""),
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("url", lambda row: row["url"]),
    Column("user", lambda row: row["user"]),
)


@click.group(help=t("context.help"))
def context() -> None:
    """See and choose which server is meant."""


@context.command("show", help=t("context.show.help"))
@one_option
@connected
def show(session: Session, /, form: str) -> None:
    """Show the context, without its token."""
    found = session.load()
    told = {
        "file": str(session.place),
        "url": found.url,
        "person": found.person,
        "ca": (found.ca or "").splitlines()[0] if found.ca else "",
    }
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    facts(told.items())


@context.command("ls", help=t("context.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List the servers that one has logged in to."""
    used = contexts.current()
    places = [(name, contexts.file(name)) for name in contexts.names()]
    rows = [_row(name, place, current=place == used) for name, place in places]
    local = session.home / one_context.FILE
    if local.is_file():
        rows = [_row(contexts.LOCAL, local, current=used is None), *rows]
    emit(form, rows, COLUMNS, name="name")


def _row(name: str, place: Path, *, current: bool) -> Row:
    try:
        found = one_context.load(place)
    except Failure as error:
        return {"name": name, "url": "", "user": error.text, "current": current}
    return {"name": name, "url": found.url, "user": found.person, "current": current}


@context.command("use", help=t("context.use.help"))
@click.argument("name", metavar=t("meta.name"))
def use(name: str) -> None:
    """Mean this server from now on."""
    contexts.use(name)
    click.echo(t("context.used", name=human.safe(name)), err=True)


@context.command("rm", help=t("context.rm.help"))
@click.argument("name", metavar=t("meta.name"))
def rm(name: str) -> None:
    """Forget a server; the session there goes on until it ends by itself."""
    contexts.forget(name)
    click.echo(t("context.removed", name=human.safe(name)), err=True)
