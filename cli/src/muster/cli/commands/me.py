"""``muster whoami`` and ``muster open``."""

import os
import sys

import click

from muster.cli import human
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import facts, to_json


@click.command(help=t("whoami.help"))
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
def whoami(session: Session, /, form: str) -> None:
    """Show as whom the command line acts, and where."""
    told = session.client.get("/me")
    url = session.client.context.url
    if form == "json":
        click.echo(to_json({**told, "url": url}, indent=2))
        return
    click.echo(human.safe(told["name"]))
    rows = [("roles", told.get("roles")), ("permissions", told.get("permissions")), ("url", [url])]
    facts([(key, ", ".join(map(str, values or ()))) for key, values in rows], err=True)


@click.command("open", help=t("open.help"))
@click.option("--print", "only_print", is_flag=True, help=t("open.print"))
@connected
def open_(session: Session, /, *, only_print: bool) -> None:
    """Print the address of the dashboard, and show it in a browser if there is one."""
    url = session.load().url
    click.echo(url)
    has_screen = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    if not only_print and (has_screen or sys.platform in {"darwin", "win32"}):
        click.launch(url)
