"""Watching a run until there is nothing to wait for: the heart of ``run`` and ``runs logs``."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import click

from muster.cli.client import Client
from muster.cli.failures import Exit, Failure
from muster.cli.following import Following, hint
from muster.cli.gathering import Document, Grouped
from muster.cli.outcome import exit_code, own_code, summary
from muster.cli.printing import Exact, JsonLines, Lines, Printer
from muster.cli.spool import Shelf
from muster.cli.terminals import forget_stdout, is_person

_MOMENT: Final = 0.1
"""Seconds within which a run on one node is read in one answer."""

_GLANCE: Final = 0.5
"""Seconds within which the answers of several nodes are shown together to a person."""


@dataclass(frozen=True)
class View:
    """How a person or a program wants to see a run."""

    form: str = "text"
    grouped: bool | None = None
    """None: together where a person looks and it is quick, otherwise line by line."""
    raw: bool = False
    quiet: bool = False
    exit_status: bool = False


def watch(
    client: Client, told: dict[str, Any], view: View, *, wait: bool, follow: bool = True
) -> int:
    """Show the run *told* until it is over; return the exit code.

    Unless *wait*, nodes that are away are not waited for. Unless *follow*, only what has
    happened so far is shown. Only the targets that are in *told* are shown.
    """
    run = Following(client, told)
    try:
        with ExitStack() as stack:
            _show(run, told, view, stack, wait=wait, follow=follow)
    except KeyboardInterrupt:
        click.echo(err=True)
        hint(run.run)
        return Exit.WAITING
    except BrokenPipeError:
        forget_stdout()
        hint(run.run)
        return Exit.WAITING
    except Failure:
        if follow:
            hint(run.run)
        raise
    return _end(run, view, follow=follow)


def _show(
    run: Following,
    told: dict[str, Any],
    view: View,
    stack: ExitStack,
    *,
    wait: bool,
    follow: bool,
) -> None:
    quick = not follow
    if follow:
        several_seen = len(run.targets) > 1 and view.grouped is None and is_person(sys.stdout)
        quick = run.soon(_GLANCE if several_seen else _MOMENT, wait=wait)
    printer = _printer(run, told, view, stack, quick=quick)
    for event in run.told():
        printer.take(event)
    if follow and not run.settled(wait=wait):
        for event in run.live():
            printer.take(event)
            if run.settled(wait=wait):
                break
    printer.finish(run.targets)


def _printer(
    run: Following, told: dict[str, Any], view: View, stack: ExitStack, *, quick: bool
) -> Printer:
    if view.form == "jsonl":
        return JsonLines(told)
    if view.form == "json":
        return Document(told, stack.enter_context(Shelf()))
    if len(run.targets) == 1:
        return Exact(run.run, run.names, raw=view.raw)
    together = quick and is_person(sys.stdout) if view.grouped is None else view.grouped
    if together:
        return Grouped(run.run, run.names, stack.enter_context(Shelf()))
    return Lines(run.run, run.names)


def _end(run: Following, view: View, *, follow: bool) -> int:
    """Say how it went."""
    targets = list(run.targets.values())
    code = exit_code(targets)
    if not view.quiet:
        click.echo(summary(targets, run.expires), err=True)
        if code == Exit.WAITING and follow:
            hint(run.run, waits=True)
    if view.exit_status and len(targets) == 1:
        return own_code(targets[0])
    return code
