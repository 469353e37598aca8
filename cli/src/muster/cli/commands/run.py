"""``muster run``: a command on nodes, with its output as it is produced.

Everything behind ``--`` is the command and nothing else; without ``--`` the line is refused, so
that an option of the command can never be taken for one of ours.
"""

import os
import re
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import click

from muster.cli import terminals
from muster.cli.completing import complete_nodes
from muster.cli.durations import Duration
from muster.cli.failures import Failure
from muster.cli.i18n import plural, t
from muster.cli.session import Session, connected
from muster.cli.tables import to_json
from muster.cli.tape import encode
from muster.cli.watching import View, watch

INPUT_LIMIT: Final = 370 * 1024
"""Bytes of standard input that fit into a command."""

_NAMES: Final = re.compile(r"[a-z0-9_-]+(, *[a-z0-9_-]+)*")
_MANY: Final = 10
"""More nodes than this are asked about before ``--all`` runs on them."""

_BEHIND: Final = "muster.cli.behind"


class RunCommand(click.Command):
    """Splits the line at ``--`` before click reads it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep what is behind the first ``--`` as the command."""
        if "--" in args:
            at = args.index("--")
            args, ctx.meta[_BEHIND] = args[:at], args[at + 1 :]
        return super().parse_args(ctx, args)


@dataclass(frozen=True)
class _Wish:
    """What the options say about the request itself."""

    shell: str
    stdin: str | None
    cwd: str
    run_as: str
    env: tuple[str, ...]
    timeout: float
    expires: float
    note: str

    def command(self, argv: Sequence[str]) -> dict[str, Any]:
        """Return the command for the API."""
        if bool(argv) == bool(self.shell):
            raise click.UsageError(t("run.one_of_two") if argv else t("run.no_command"))
        command: dict[str, Any] = {"timeout": self.timeout}
        command |= {"argv": list(argv)} if argv else {"shell": self.shell}
        if self.cwd:
            command["cwd"] = self.cwd
        if self.run_as:
            command["run_as"] = self.run_as
        if self.env:
            command["env"] = dict(map(_pair, self.env))
        if self.stdin is not None:
            command["stdin"] = encode(_read_input(self.stdin))
        return command


@click.command(cls=RunCommand, help=t("run.help"), epilog=t("run.epilog"))
@click.argument("nodes", nargs=-1, shell_complete=complete_nodes, metavar=t("meta.run"))
@click.option("--all", "everywhere", is_flag=True, help=t("run.opt.all"))
@click.option("--shell", default="", metavar=t("meta.text"), help=t("run.opt.shell"))
@click.option(
    "--stdin", is_flag=False, flag_value="-", metavar=t("meta.file"), help=t("run.opt.stdin")
)
@click.option("--as", "run_as", default="", metavar=t("meta.user"), help=t("run.opt.as"))
@click.option("--cwd", default="", metavar=t("meta.dir"), help=t("run.opt.cwd"))
@click.option("--env", multiple=True, metavar=t("meta.env"), help=t("run.opt.env"))
@click.option(
    "--timeout", type=Duration(), default="1h", show_default=True, help=t("run.opt.timeout")
)
@click.option(
    "--expires", type=Duration(), default="1h", show_default=True, help=t("run.opt.expires")
)
@click.option("--note", default="", metavar=t("meta.text"), help=t("run.opt.note"))
@click.option("--dry-run", "-n", is_flag=True, help=t("run.opt.dry_run"))
@click.option("--detach", "-d", is_flag=True, help=t("run.opt.detach"))
@click.option("--wait", is_flag=True, help=t("run.opt.wait"))
@click.option("--group/--live", "-b/-l", "grouped", default=None, help=t("run.opt.group"))
@click.option("--raw", is_flag=True, help=t("run.opt.raw"))
@click.option("--exit-status", "-e", is_flag=True, help=t("run.opt.exit_status"))
@click.option("--quiet", "-q", is_flag=True, help=t("run.opt.quiet"))
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(("text", "json", "jsonl")),
    default="text",
    show_default=True,
    help=t("run.opt.output"),
)
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
@click.pass_context
def run(  # noqa: PLR0913  # one argument per option
    ctx: click.Context,
    session: Session,
    /,
    nodes: tuple[str, ...],
    *,
    everywhere: bool,
    detach: bool,
    yes: bool,
    dry_run: bool,
    wait: bool,
    grouped: bool | None,
    raw: bool,
    exit_status: bool,
    quiet: bool,
    form: str,
    **wish: Any,
) -> int:
    """Run a command on nodes."""
    asked = _Wish(**wish)
    selector = _selector(nodes)
    if len(nodes) > 1 and _BEHIND not in ctx.meta and not asked.shell:
        raise click.UsageError(t("run.dashes"))
    if bool(selector) == everywhere:
        raise click.UsageError(t("run.all_or_names") if selector else t("run.no_nodes"))
    command = asked.command(ctx.meta.get(_BEHIND, ()))
    targets: dict[str, Any] = {"all": True} if everywhere else {"selector": selector}
    if dry_run:
        return _show(session, targets, form)
    if not yes:
        _confirm(session, targets)
    told = _create(session, command, targets, asked)
    if not quiet:
        click.echo(plural("run.begun", len(told["targets"]), run=told["id"]), err=True)
    if detach:
        click.echo(to_json(told) if form != "text" else told["id"])
        return 0
    view = View(form=form, grouped=grouped, raw=raw, quiet=quiet, exit_status=exit_status)
    return watch(session.client, told, view, wait=wait)


def _create(
    session: Session, command: dict[str, Any], targets: dict[str, Any], wish: _Wish
) -> dict[str, Any]:
    body = {
        "command": command,
        "targets": targets,
        "note": wish.note,
        "expires_in": wish.expires,
    }
    told: dict[str, Any] = session.client.send("POST", "/runs", body, key=secrets.token_hex(16))
    return told


def _selector(words: Sequence[str]) -> str:
    """Return what was typed as one selector; words beside each other are alternatives."""
    formula = any(word in {"and", "or", "not", "in"} or "(" in word for word in words)
    return (" " if formula else ", ").join(word.strip(",") for word in words).strip(", ")


def _resolved(session: Session, targets: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = session.client.send("POST", "/nodes/resolve", targets)["items"]
    return found


def _show(session: Session, targets: dict[str, Any], form: str) -> int:
    """Say which nodes are meant, and do nothing."""
    found = _resolved(session, targets)
    if form == "text":
        click.echo("\n".join(str(node["name"]) for node in found))
        click.echo(plural("run.would", len(found)), err=True)
    else:
        click.echo(to_json(found))
    return 0


def _confirm(session: Session, targets: dict[str, Any]) -> None:
    """Ask before a command goes to very many nodes, if there is somebody to ask."""
    names = _NAMES.fullmatch(targets.get("selector", ""))  # then somebody has counted already
    if names or not terminals.can_ask():
        return
    count = len(_resolved(session, targets))
    if count > _MANY:
        click.confirm(t("run.confirm", n=count), abort=True, err=True)


def _pair(text: str) -> tuple[str, str]:
    """Return a variable and its value; a name alone takes the value it has here."""
    name, given, value = text.partition("=")
    if not name or (not given and name not in os.environ):
        raise click.UsageError(t("run.env_wrong", text=text))
    return name, value if given else os.environ[name]


def _read_input(place: str) -> bytes:
    if place == "-":
        return _read(sys.stdin.buffer)
    try:
        with open(place, "rb") as file:  # noqa: PTH123  # also /dev/stdin and the like
            return _read(file)
    except OSError as error:
        raise Failure(t("run.stdin_unreadable", file=place, error=error.strerror)) from error


def _read(file: BinaryIO) -> bytes:
    data = file.read(INPUT_LIMIT + 1)
    if len(data) > INPUT_LIMIT:
        raise Failure(t("run.stdin_large", limit=f"{INPUT_LIMIT // 1024} KiB"), t("run.stdin_hint"))
    return data
