"""`muster config show`: every setting, its value, and where that is from."""

import importlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout
from muster.cli.server.place import data_dir_option
from muster.cli.server.settings import ServerSettings


@click.group(help=t("server.config.help"))
def config() -> None:
    """Look at settings."""


@config.command(help=t("server.config.show"))
@data_dir_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help=t("server.status.output"),
)
def show(data_dir: Path, output: str) -> None:
    """Print every setting with its origin."""
    rows = found(Layout(data_dir.resolve()))
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['value'] or '-'}")
        click.echo(f"{'':<{width}}  {click.style(row['origin'] + ' · ' + row['help'], dim=True)}")


def found(layout: Layout) -> list[dict[str, str]]:
    """Return every setting of the server and its services: name, value, origin, help."""
    from muster.kit import settings  # noqa: PLC0415  # only when it is needed

    kinds: dict[str, Any] = {"server": ServerSettings}
    for point in sorted(entry_points(group="muster.services"), key=lambda one: one.name):
        kinds[point.name] = importlib.import_module(f"muster.{point.name}.settings").Settings
    rows = []
    for section, kind in kinds.items():
        given = {} if section == "server" else {"data_dir": str(layout.root)}
        try:
            loaded = settings.load(kind, section, toml=layout.settings, given=given)
        except settings.BadSettingsError as error:
            raise click.ClickException(str(error)) from error
        rows += [row._asdict() for row in settings.describe(loaded, section)]
    settings.warn_of_sections(layout.settings, kinds)
    return rows
