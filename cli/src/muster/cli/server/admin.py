"""`muster admin`: back in, other keys, another CA, for who can write the server's files."""

import asyncio
import importlib
import os
import pwd
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.place import data_dir_option
from muster.contracts.errors import MusterError


@click.group(help=t("server.admin.help"))
def admin() -> None:
    """What only the server's own console may do."""


@admin.command(help=t("server.admin.key"))
@data_dir_option
@click.argument("step", type=click.Choice(("status", "prepare", "switch", "retire")))
@click.option("--force", is_flag=True, help=t("server.admin.key.force"))
def key(data_dir: Path, step: str, *, force: bool) -> None:
    """Replace the key that signs commands, in three steps."""
    rotating = importlib.import_module("muster.authority.rotating")
    layout, options = _authority(data_dir)
    state = _done(rotating.step(options, step, force=force))
    click.echo(t(f"server.admin.key.{state}"))
    if step != "status" and read_state(layout) is not None:
        click.echo(t("server.admin.key.restart"), err=True)


@admin.command(help=t("server.admin.ca"))
@data_dir_option
@click.argument("step", type=click.Choice(("status", "prepare", "switch", "retire")))
@click.option("--force", is_flag=True, help=t("server.admin.ca.force"))
def ca(data_dir: Path, step: str, *, force: bool) -> None:
    """Replace the CA, without joining any node again."""
    rotating = importlib.import_module("muster.authority.rotating_ca")
    layout, options = _authority(data_dir)
    found = _done(rotating.step(options, layout.tls, step, force=force))
    click.echo(t(f"server.admin.ca.{found.state}"))
    for number, one in enumerate(found.fingerprints):
        click.echo(t("server.admin.ca.other" if number else "server.admin.ca.issues", sha256=one))
    if found.deaf:
        click.echo(t("server.admin.ca.deaf", count=len(found.deaf), nodes=found.nodes))
        click.echo("\n".join(f"  {node}" for node in found.deaf))
    elif len(found.fingerprints) > 1:
        click.echo(t("server.admin.ca.heard", nodes=found.nodes))


@admin.command(help=t("server.admin.reset"))
@data_dir_option
@click.argument("name", default="admin", metavar=t("meta.maybe_user"))
def reset(data_dir: Path, name: str) -> None:
    """Make somebody an administrator again, with a one-time password."""
    rescuing = importlib.import_module("muster.authority.rescuing")
    _, options = _authority(data_dir)
    password = _done(rescuing.reset(options, name))
    click.echo(t("server.admin.password", name=name), err=True)
    click.echo(password)


def _authority(data_dir: Path) -> tuple[Layout, Any]:
    """Return where the server is, and the settings of its authority."""
    from muster.kit import settings  # noqa: PLC0415  # only when it is needed

    layout = Layout(data_dir.resolve())
    if not layout.root.is_dir():
        raise click.ClickException(t("server.doctor.no_dir", dir=str(layout.root)))
    if (owner := layout.root.stat().st_uid) != os.geteuid():
        raise click.ClickException(t("server.admin.other_user", user=_name(owner)))
    kind = importlib.import_module("muster.authority.settings").Settings
    given = {"data_dir": str(layout.root)}
    try:
        return layout, settings.load(kind, "authority", toml=layout.settings, given=given).settings
    except settings.BadSettingsError as error:
        raise click.ClickException(str(error)) from error


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _done(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except MusterError as error:
        raise click.ClickException(str(error)) from error
