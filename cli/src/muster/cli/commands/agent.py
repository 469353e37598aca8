"""``muster agent``: everything behind it belongs to the agent, if one is installed here."""

import sys
from importlib.metadata import entry_points
from typing import Final

import click

from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t

GROUP: Final = "muster.tools"


class _Passing(click.Command):
    """Reads nothing: ``--help`` and ``--`` are the agent's as well."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words as they are."""
        ctx.params["rest"] = tuple(args)
        return []


@click.command(cls=_Passing, help=t("agent.help"), add_help_option=False)
def agent(rest: tuple[str, ...]) -> int:
    """Pass everything to the agent's own command line."""
    found = list(entry_points(group=GROUP, name="agent"))
    if not found:
        raise Failure(t("agent.missing"), t("agent.missing.hint"))
    main = found[0].load()
    sys.argv = ["muster agent", *rest]
    ended = main()
    return ended if isinstance(ended, int) else Exit.OK
