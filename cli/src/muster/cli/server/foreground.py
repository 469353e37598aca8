"""The server in this process: lock, settings, logs, and the run until a signal comes."""

import asyncio
import os
from typing import Any

import click
import uvloop

from muster.cli.i18n import t
from muster.cli.server.home import Home
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.notify import notify
from muster.cli.server.screen import screen
from muster.cli.server.settings import ServerSettings
from muster.cli.server.up import QUIET
from muster.contracts.errors import MusterError, Unavailable
from muster.kit import logs, settings
from muster.kit.files import locked
from muster.kit.run import run


def serve(layout: Layout, given: dict[str, Any]) -> int:
    """Run the server until it is told to end; returns the exit code."""
    layout.create()
    try:
        options = settings.load(
            ServerSettings, "server", toml=layout.settings, given=given
        ).settings
    except settings.BadSettingsError as error:
        raise click.UsageError(str(error)) from error
    logs.setup(options.log_level, options.log_format, file=layout.logs / "server.log")
    try:
        with locked(layout.lock, wait=0.5) as lock:
            os.set_inheritable(lock, True)  # noqa: FBT003
            return _run(Home(layout, options, lock))
    except Unavailable as error:
        raise click.ClickException(_taken(layout) or str(error)) from error
    except MusterError as error:
        raise click.ClickException(str(error)) from error


def _run(home: Home) -> int:
    refused: list[MusterError] = []

    async def main(stop: asyncio.Event) -> None:
        try:
            async with home.running():
                if not os.environ.get(QUIET):
                    click.echo(screen(home.layout, read_state(home.layout) or {}))
                notify(f"READY=1\nSTATUS={home.where.url}")
                await stop.wait()
                notify("STOPPING=1")
                click.echo(t("server.up.stopping"), err=True)
        except MusterError as error:
            refused.append(error)

    code = run(main, grace=12.0, loop_factory=uvloop.new_event_loop)
    if refused:
        raise refused[0]
    return code


def _taken(layout: Layout) -> str:
    """Say who runs on this data directory, if somebody does."""
    state = read_state(layout)
    if state is None:
        return ""
    return t("server.up.taken", dir=str(layout.root), pid=state["pid"], url=state["url"])
