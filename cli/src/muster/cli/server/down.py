"""`muster down`: end the server and wait until it has ended."""

import os
import signal
import sys
from pathlib import Path

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.place import data_dir_option
from muster.contracts.errors import Unavailable
from muster.kit.files import locked


@click.command(help=t("server.down.help"))
@data_dir_option
@click.option(
    "--timeout", type=click.FloatRange(min=1), default=20.0, help=t("server.down.timeout")
)
def down(data_dir: Path, timeout: float) -> None:
    """End the server."""
    layout = Layout(data_dir.resolve())
    state = read_state(layout)
    if state is None:
        click.echo(t("server.down.nothing", dir=str(layout.root)), err=True)
        sys.exit(12)
    os.kill(state["pid"], signal.SIGTERM)
    try:
        with locked(layout.lock, wait=timeout):  # server and broker have let go of it
            click.echo(t("server.down.done"), err=True)
    except Unavailable as error:
        raise click.ClickException(t("server.down.slow", pid=state["pid"])) from error
