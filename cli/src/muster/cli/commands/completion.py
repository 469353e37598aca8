"""``muster completion``: the script that lets a shell complete our names."""

import click
from click.shell_completion import get_completion_class

from muster.cli.i18n import t


@click.command(help=t("completion.help"), epilog=t("completion.epilog"))
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell."""
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(ctx.find_root().command, {}, "muster", "_MUSTER_COMPLETE").source())
