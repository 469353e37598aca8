"""``muster context``: which server the command line speaks with."""

import click

from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import facts, to_json


@click.group(help=t("context.help"))
def context() -> None:
    """See which server is meant."""


@context.command("show", help=t("context.show.help"))
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help=t("opt.output.one"),
)
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
