"""`muster admin reset`: back in, for who can write the server's files."""

import asyncio
import importlib
from pathlib import Path

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout
from muster.cli.server.place import data_dir_option
from muster.contracts.errors import MusterError


@click.group(help=t("server.admin.help"))
def admin() -> None:
    """What only the server's own console may do."""


@admin.command(help=t("server.admin.reset"))
@data_dir_option
@click.argument("name", default="admin", metavar=t("meta.maybe_user"))
def reset(data_dir: Path, name: str) -> None:
    """Make somebody an administrator again, with a one-time password."""
    from muster.kit import settings  # noqa: PLC0415  # only when it is needed

    layout = Layout(data_dir.resolve())
    if not layout.root.is_dir():
        raise click.ClickException(t("server.doctor.no_dir", dir=str(layout.root)))
    kind = importlib.import_module("muster.authority.settings").Settings
    rescuing = importlib.import_module("muster.authority.rescuing")
    given = {"data_dir": str(layout.root)}
    try:
        options = settings.load(kind, "authority", toml=layout.settings, given=given).settings
        password = asyncio.run(rescuing.reset(options, name))
    except (settings.BadSettingsError, MusterError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(t("server.admin.password", name=name), err=True)
    click.echo(password)
