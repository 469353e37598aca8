"""The root of the command line: which commands there are, and how each of them ends."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click
from click.core import ParameterSource

from muster.cli import i18n
from muster.cli.failures import Exit, Failure
from muster.cli.formatting import HelpFormatter
from muster.cli.i18n import t
from muster.cli.lazy import LazyGroup, Table
from muster.cli.terminals import forget_stdout

_COMMANDS: Final = "muster.cli.commands"
_SERVER: Final = "muster.cli.server"

TABLE: Final[Table] = {
    "up": (f"{_SERVER}.up", "up", "command.up"),
    "down": (f"{_SERVER}.down", "down", "command.down"),
    "status": (f"{_SERVER}.status", "status", "command.status"),
    "doctor": (f"{_SERVER}.doctor", "doctor", "command.doctor"),
    "logs": (f"{_SERVER}.logs", "logs", "command.logs"),
    "config": (f"{_SERVER}.config", "config", "command.config"),
    "admin": (f"{_SERVER}.admin", "admin", "command.admin"),
    "node": (f"{_COMMANDS}.node", "node", "command.node"),
    "run": (f"{_COMMANDS}.run", "run", "command.run"),
    "runs": (f"{_COMMANDS}.runs", "runs", "command.runs"),
    "approval": (f"{_COMMANDS}.approval", "approval", "command.approval"),
    "audit": (f"{_COMMANDS}.audit", "audit", "command.audit"),
    "user": (f"{_COMMANDS}.user", "user", "command.user"),
    "role": (f"{_COMMANDS}.role", "role", "command.role"),
    "grant": (f"{_COMMANDS}.role", "grant", "command.grant"),
    "token": (f"{_COMMANDS}.credentials", "token", "command.token"),
    "session": (f"{_COMMANDS}.credentials", "session", "command.session"),
    "account": (f"{_COMMANDS}.account", "account", "command.account"),
    "agent": (f"{_COMMANDS}.agent", "agent", "command.agent"),
    "login": (f"{_COMMANDS}.login", "login", "command.login"),
    "logout": (f"{_COMMANDS}.login", "logout", "command.logout"),
    "factor": (f"{_COMMANDS}.factor", "factor", "command.factor"),
    "can": (f"{_COMMANDS}.me", "can", "command.can"),
    "whoami": (f"{_COMMANDS}.me", "whoami", "command.whoami"),
    "open": (f"{_COMMANDS}.me", "open_", "command.open"),
    "context": (f"{_COMMANDS}.context", "context", "command.context"),
    "completion": (f"{_COMMANDS}.completion", "completion", "command.completion"),
}


def run(arguments: Sequence[str]) -> int:
    """Run one command line; return the exit code. The language has been chosen before."""
    click.Context.formatter_class = HelpFormatter
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that cannot show a letter is no crash
            stream.reconfigure(errors="backslashreplace")
    try:
        ended = _root().main(list(arguments), prog_name="muster", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except BrokenPipeError:
        forget_stdout()
        return Exit.PIPE
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return Exit.INTERRUPTED
    except Exception as error:
        if _debug(arguments) and not isinstance(error, click.ClickException):
            raise
        return _tell(error)
    return ended if isinstance(ended, int) else Exit.OK


def _tell(error: Exception) -> int:
    """Say what went wrong; return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    if isinstance(error, Failure):
        click.echo(f"muster: {error.text}", err=True)
        if error.hint:
            click.echo(error.hint, err=True)
        return error.code
    click.echo(t("error.internal", error=f"{type(error).__name__}: {error}"), err=True)
    return Exit.ERROR


def _debug(arguments: Sequence[str]) -> bool:
    ours = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--debug" in ours


def _root() -> click.Command:
    """Declare the root; not at import, because its texts need the language."""

    @click.group(
        cls=LazyGroup,
        table=TABLE,
        help=t("root.help"),
        epilog=t("root.epilog"),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    @click.option(
        "--context", type=click.Path(path_type=Path), envvar="MUSTER_CONTEXT", help=t("opt.context")
    )
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path),
        envvar="MUSTER_DATA_DIR",
        help=t("opt.data_dir"),
    )
    @click.option("--lang", type=click.Choice(i18n.LANGUAGES), help=t("opt.lang"))
    @click.option("--debug", is_flag=True, help=t("opt.debug"))
    @click.option(
        "-V",
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_version,
        help=t("opt.version"),
    )
    @click.pass_context
    def muster(
        ctx: click.Context, context: Path | None, data_dir: Path | None, lang: str, *, debug: bool
    ) -> None:
        from muster.cli.session import Session  # noqa: PLC0415  # help needs none

        del lang, debug  # read before the commands were declared
        typed = ctx.get_parameter_source("data_dir") is ParameterSource.COMMANDLINE
        named = ctx.get_parameter_source("context") is ParameterSource.COMMANDLINE
        ctx.obj = Session(None if typed and not named else context, data_dir)

    return muster


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: FBT001
    del param
    if value and not ctx.resilient_parsing:
        from muster.cli.versions import version  # noqa: PLC0415  # start-up time

        click.echo(f"muster {version()}")
        ctx.exit()
