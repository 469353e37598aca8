"""`muster up`: the whole platform, in the foreground or detached."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.place import data_dir_option
from muster.cli.server.screen import screen

QUIET: Final = "MUSTER_UP_QUIET"
"""Set for a server in the background: the password is for the terminal, not for a log."""


@click.command(help=t("server.up.help"))
@data_dir_option
@click.option("--listen", metavar="ADDRESS", help=t("server.up.listen"))
@click.option("--address", metavar="NAME", help=t("server.up.address"))
@click.option("--port", type=click.IntRange(1, 65535), help=t("server.up.port"))
@click.option("--nats-port", type=click.IntRange(1, 65535), help=t("server.up.nats_port"))
@click.option("--agent/--no-agent", default=None, help=t("server.up.agent"))
@click.option("--dashboard/--no-dashboard", default=None, help=t("server.up.dashboard"))
@click.option("--processes", is_flag=True, default=None, help=t("server.up.processes"))
@click.option("-d", "--detach", is_flag=True, help=t("server.up.detach"))
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help=t("server.up.log_level"),
)
def up(data_dir: Path, *, detach: bool, **given: Any) -> None:
    """Start the server."""
    layout = Layout(data_dir.resolve())
    values = {name: value for name, value in given.items() if value is not None}
    if detach:
        _detached(layout)
        return
    from muster.cli.server import foreground  # noqa: PLC0415  # slow to import

    sys.exit(foreground.serve(layout, values))


def _detached(layout: Layout) -> None:
    """Start the same command again in the background; wait until it is ready or has failed."""
    layout.create()
    log_file = layout.logs / "up.log"
    arguments = [word for word in sys.argv[1:] if word not in {"-d", "--detach"}]
    with open(log_file, "ab", opener=_private) as out:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "muster.cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, "MUSTER_DATA_DIR": str(layout.root), QUIET: "1"},
        )
    end = time.monotonic() + 90
    while time.monotonic() < end:
        state = read_state(layout)
        if state and state["ready"] and state["pid"] == process.pid:
            click.echo(screen(layout, state))
            return
        if process.poll() is not None:
            lines = log_file.read_text(errors="replace").splitlines()[-8:]
            raise click.ClickException("\n".join([t("server.up.failed"), *lines]))
        time.sleep(0.05)
    raise click.ClickException(t("server.up.slow", file=str(log_file)))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
