"""Questions to the person at the terminal."""

import click

from muster.cli import terminals
from muster.cli.i18n import t


def ask(question: str) -> str:
    """Return what somebody types."""
    _somebody()
    return str(click.prompt(question, err=True)).strip()


def hidden(question: str, *, again: bool = False) -> str:
    """Return what somebody types and nobody sees."""
    _somebody()
    return str(click.prompt(question, hide_input=True, confirmation_prompt=again, err=True))


def _somebody() -> None:
    if not terminals.can_ask():
        raise click.UsageError(t("login.nobody"))


def confirm(question: str, *, yes: bool) -> None:
    """Go on only if somebody says so, here or by ``--yes``."""
    if yes:
        return
    if not terminals.can_ask():
        raise click.UsageError(t("opt.yes.needed"))
    click.confirm(question, abort=True, err=True)
