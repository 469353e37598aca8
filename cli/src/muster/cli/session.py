"""What every command gets: which server is meant, and a connection to it when it is needed."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from muster.cli import context
from muster.cli.client import Client
from muster.cli.context import Context
from muster.cli.i18n import t

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Session:
    """The settings of one command line."""

    context: Path | None = None
    data_dir: Path | None = None
    _client: Client | None = field(default=None, repr=False)

    @property
    def place(self) -> Path:
        """The file that says which server is meant."""
        return context.place(self.context, self.data_dir)

    @property
    def home(self) -> Path:
        """The data directory that is meant."""
        return self.data_dir or context.default_data_dir()

    def load(self) -> Context:
        """Return which server is meant, and as whom."""
        return context.load(self.place)

    @property
    def client(self) -> Client:
        """The connection to the server; the first use opens it."""
        if self._client is None:
            self._client = Client(self.load(), keep=self._keep)
        return self._client

    def _keep(self, found: Context) -> None:
        """Pin another CA of the same server, which the one before has vouched for."""
        with suppress(OSError):  # then it is found out again each time
            found.save(self.place)
        click.echo(t("client.followed", url=found.url), err=True)


def _remember(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    session = ctx.find_object(Session)
    if value is not None and session is not None:
        setattr(session, str(param.name), value)
        if param.name == "data_dir":
            session.context = None


def connected(command: Decorated) -> Decorated:
    """Let a command take ``--context`` and ``--data-dir`` too, and give it the `Session`."""
    for name in ("--data-dir", "--context"):
        command = click.option(
            name,
            type=click.Path(path_type=Path),
            expose_value=False,
            hidden=True,
            callback=_remember,
        )(command)
    hidden = click.option("--debug", is_flag=True, expose_value=False, hidden=True)
    lang = click.option("--lang", expose_value=False, hidden=True)
    return cast("Decorated", hidden(lang(click.make_pass_decorator(Session)(command))))
