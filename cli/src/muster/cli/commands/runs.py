"""``muster runs``: the history, and everything about a run that goes on or is over."""

import time
from functools import partial
from typing import Final

import click

from muster.cli import durations, human
from muster.cli.client import path
from muster.cli.commands.results import fetch, files
from muster.cli.completing import complete_nodes, complete_runs
from muster.cli.durations import Duration
from muster.cli.failures import Exit
from muster.cli.finding import find, targets_named
from muster.cli.following import hint, patiently
from muster.cli.i18n import t
from muster.cli.outcome import cause, exit_code, spent, summary
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, facts, form_option, to_json
from muster.cli.watching import View, watch

_GOOD: Final = "green"
_BAD: Final = "red"
_STEP: Final = 25.0
_PAGE: Final = 1000


@click.group(help=t("runs.help"))
def runs() -> None:
    """See what has been run."""


def _counts(run: Row) -> str:
    counts: dict[str, int] = run.get("counts") or {}
    return ", ".join(
        t("summary.count", n=n, state=t(f"state.{state}")) for state, n in counts.items() if n
    )


def _run_style(run: Row) -> str:
    counts: dict[str, int] = run.get("counts") or {}
    if not run.get("finished"):
        return "yellow"
    return _GOOD if set(filter(counts.get, counts)) <= {"done"} else _BAD


def _seconds(run: Row) -> str:
    begun, ended = human.moment(run.get("created")), human.moment(run.get("finished"))
    return durations.show((ended - begun).total_seconds()) if begun and ended else "-"


RUN_COLUMNS: Final = (
    Column("id", lambda run: run["id"]),
    Column("created", lambda run: run["created"], lambda run: human.ago(run["created"]), rank=1),
    Column("by", lambda run: run["by"], rank=3),
    Column(
        "result",
        lambda run: " ".join(f"{state}={n}" for state, n in (run.get("counts") or {}).items()),
        _counts,
        _run_style,
    ),
    Column("duration", lambda run: run.get("finished"), _seconds, right=True, rank=4),
    Column(
        "command",
        lambda run: human.command(run["command"]),
        lambda run: human.command(run["command"])[:80],
        rank=2,
    ),
    Column("note", lambda run: run.get("note") or "", rank=5),
)


@runs.command("ls", help=t("runs.ls.help"))
@click.option(
    "--limit", "-n", type=click.IntRange(1), default=20, show_default=True, help=t("opt.limit")
)
@click.option("--node", default="", shell_complete=complete_nodes, help=t("runs.ls.node"))
@click.option("--by", default="", help=t("runs.ls.by"))
@click.option("--active", is_flag=True, help=t("runs.ls.active"))
@form_option
@connected
def ls(session: Session, /, limit: int, node: str, by: str, *, active: bool, form: str) -> None:
    """List runs, newest first."""
    items: list[Row] = []
    before = ""
    while len(items) < limit:
        page = session.client.get(
            "/runs",
            limit=min(limit - len(items), _PAGE),
            before=before,
            node=node,
            by=by,
            active=active,
        )
        items += page["items"]
        before = page.get("next") or ""
        if not before:
            break
    emit(form, items, RUN_COLUMNS)


TARGET_COLUMNS: Final = (
    Column("node", lambda one: one["name"]),
    Column(
        "state",
        lambda one: one["state"],
        lambda one: t(f"state.{one['state']}"),
        lambda one: {"done": _GOOD, "queued": "yellow", "waiting": "yellow"}.get(
            one["state"], _BAD if one.get("finished") else ""
        ),
    ),
    Column("exit", lambda one: one.get("exit"), right=True),
    Column("cause", lambda one: one.get("reason"), cause),
    Column(
        "started",
        lambda one: one.get("started"),
        lambda one: human.local(one.get("started")),
        rank=3,
    ),
    Column("duration", lambda one: one.get("finished"), spent, right=True, rank=1),
    Column(
        "stdout",
        lambda one: one["stdout"],
        lambda one: human.size(one["stdout"]),
        right=True,
        rank=2,
    ),
    Column(
        "stderr",
        lambda one: one["stderr"],
        lambda one: human.size(one["stderr"]),
        right=True,
        rank=2,
    ),
)


@runs.command("show", help=t("runs.show.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@form_option
@connected
def show(session: Session, /, run: str, form: str) -> None:
    """Show one run and its targets."""
    told = find(session.client, run)
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    if form == "table":
        _describe(told)
    emit(form, told["targets"], TARGET_COLUMNS, name="name")


def _describe(told: Row) -> None:
    command = told["command"]
    facts(
        [
            ("id", told["id"]),
            ("command", human.command(command)),
            ("note", told.get("note")),
            ("by", told["by"]),
            ("created", human.local(told["created"])),
            ("finished", human.local(told["finished"]) if told.get("finished") else ""),
            ("cwd", command.get("cwd")),
            ("result", summary(told["targets"], told["expires"])),
        ]
    )
    click.echo()


@runs.command("logs", help=t("runs.logs.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@click.argument("node", default="", shell_complete=complete_nodes, metavar=t("meta.maybe_node"))
@click.option("--follow", "-f", is_flag=True, help=t("runs.logs.follow"))
@click.option("--group/--live", "-b/-l", "grouped", default=None, help=t("run.opt.group"))
@click.option("--raw", is_flag=True, help=t("run.opt.raw"))
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(("text", "json", "jsonl")),
    default="text",
    show_default=True,
    help=t("run.opt.output"),
)
@connected
def logs(  # noqa: PLR0913  # one argument per option
    session: Session,
    /,
    run: str,
    node: str,
    form: str,
    *,
    follow: bool,
    grouped: bool | None,
    raw: bool,
) -> int:
    """Show the output of a run."""
    told = find(session.client, run)
    if node:
        told["targets"] = targets_named(told, [node])
    view = View(form=form, grouped=grouped, raw=raw, quiet=not follow)
    code = watch(session.client, told, view, wait=True, follow=follow)
    return code if follow else Exit.OK


@runs.command("wait", help=t("runs.wait.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@click.option("--timeout", type=Duration(), help=t("runs.wait.timeout"))
@connected
def wait(session: Session, /, run: str, timeout: float | None) -> int:
    """Wait until a run is over."""
    told = find(session.client, run)
    give_up = time.monotonic() + timeout if timeout else float("inf")
    try:
        while not told.get("finished") and (left := give_up - time.monotonic()) > 0:
            ask = partial(
                session.client.get, path("runs", told["id"]), wait=round(min(left, _STEP), 2)
            )
            told = patiently(ask)
    except KeyboardInterrupt:
        hint(told["id"])
        return Exit.WAITING
    click.echo(summary(told["targets"], told["expires"]), err=True)
    return exit_code(told["targets"])


@runs.command("cancel", help=t("runs.cancel.help"))
@click.argument("run", shell_complete=complete_runs, metavar=t("meta.run_id"))
@click.argument("nodes", nargs=-1, shell_complete=complete_nodes, metavar=t("meta.maybe_nodes"))
@connected
def cancel(session: Session, /, run: str, nodes: tuple[str, ...]) -> None:
    """End a run on all its nodes, or on some."""
    told = find(session.client, run)
    names = [name for word in nodes for name in word.split(",") if name]
    chosen = [one["node"] for one in targets_named(told, names)] if names else []
    answer = session.client.send("POST", path("runs", told["id"], "cancel"), {"nodes": chosen})
    click.echo(summary(answer["targets"], answer["expires"]), err=True)


runs.add_command(files)
runs.add_command(fetch)
