"""``muster whoami`` and ``muster open``."""

import os
import sys

import click

from muster.cli import human
from muster.cli.failures import Exit
from muster.cli.folding import fold
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import facts, one_option, to_json


@click.command(help=t("whoami.help"))
@one_option
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


@click.command(help=t("can.help"))
@click.argument("action", metavar=t("meta.action"))
@click.argument("nodes", default="all", metavar=t("meta.maybe_selector"))
@click.option("--run-as", default="", metavar=t("meta.user"), help=t("can.run_as"))
@one_option
@connected
def can(session: Session, /, action: str, nodes: str, run_as: str, form: str) -> int:
    """Say whether one may do something on some nodes, and why not."""
    told = session.client.get("/me/can", action=action, nodes=nodes, run_as=run_as)
    refused = told.get("refused") or {}
    if form == "json":
        click.echo(to_json(told, indent=2))
        return Exit.DENIED if refused else Exit.OK
    if told.get("allowed"):
        click.echo(t("can.yes", nodes=human.safe(fold(told["allowed"]))))
    if told.get("approval"):
        click.echo(t("can.approval", nodes=human.safe(fold(told["approval"]))))
    for why, names in refused.items():
        if names:
            click.echo(t("can.no", nodes=human.safe(fold(names)), why=human.safe(why)))
        else:
            click.echo(t("can.never", why=human.safe(why)))
    if not (told.get("allowed") or told.get("approval") or refused):
        click.echo(t("can.yes_server"))
    return Exit.DENIED if refused else Exit.OK


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
