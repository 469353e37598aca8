"""A group of commands that imports a command only when it is used.

The table says where a command is and what it is for, so that ``muster --help`` imports none.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from muster.cli.failures import Failure
from muster.cli.i18n import t

Table = Mapping[str, tuple[str, str, str]]
"""Name of the command -> its module, the attribute in it, the key of its one-line help."""


class LazyGroup(click.Group):
    """The commands of a table."""

    def __init__(self, *args: Any, table: Table, **settings: Any) -> None:
        """Offer the commands of *table*."""
        super().__init__(*args, **settings)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the table."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in self.table:
            return None
        module, attribute, _ = self.table[cmd_name]
        try:
            found = getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name is None or not module.startswith(error.name):
                raise
            raise Failure(t("lazy.missing", name=cmd_name), t("lazy.missing.hint")) from error
        assert isinstance(found, click.Command)  # noqa: S101  # the table is ours
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        del ctx
        rows = [(name, t(key)) for name, (_, _, key) in self.table.items()]
        with formatter.section(t("help.commands")):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may have been meant."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            ctx.fail(_no_such(args[0], list(self.table)))
        return super().resolve_command(ctx, args)


def _no_such(name: str, known: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  # start-up time

    near = get_close_matches(name, known, 1)
    text = t("help.no_such_command", name=name)
    return f"{text} {t('help.did_you_mean', name=near[0])}" if near else text
