"""Questions to the person at the terminal."""

import click

from muster.cli import terminals
from muster.cli.i18n import t


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if somebody says so, here or by ``--yes``."""
    if yes:
        return
    if not terminals.can_ask():
        raise click.UsageError(t("opt.yes.needed"))
    click.confirm(question, abort=True, err=True)
