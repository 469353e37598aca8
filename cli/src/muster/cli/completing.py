"""What the shell offers when a person presses TAB; after 300 ms nothing is better than waiting."""

import threading
from collections.abc import Callable
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from muster.cli.client import Client
from muster.cli.session import Session

PATIENCE: Final = 0.3
"""Seconds."""

_MOST: Final = 200

Ask = Callable[[Client], list[CompletionItem]]


def complete_nodes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer names of nodes; in ``a,b,c`` the last one is completed."""
    del param
    before, comma, begun = incomplete.rpartition(",")

    def ask(client: Client) -> list[CompletionItem]:
        page = client.get("/nodes", query=begun, limit=_MOST, brief=True)
        names = [str(node["name"]) for node in page["items"]]
        taken = set(before.split(","))
        return [
            CompletionItem(f"{before}{comma}{name}")
            for name in names
            if name.startswith(begun) and name not in taken
        ]

    return _soon(ctx, ask)


def complete_runs(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer the ids of the latest runs."""
    del param

    def ask(client: Client) -> list[CompletionItem]:
        from muster.cli import human  # noqa: PLC0415  # start-up time

        page = client.get("/runs", limit=50)
        return [
            CompletionItem(run["id"], help=human.command(run["command"])[:60])
            for run in page["items"]
            if str(run["id"]).startswith(incomplete)
        ]

    return _soon(ctx, ask)


def _soon(ctx: click.Context, ask: Ask) -> list[CompletionItem]:
    """Ask in a thread of its own, and give up in time whatever happens."""
    found: list[CompletionItem] = []
    settings: dict[str, Any] = ctx.find_root().params

    def work() -> None:
        try:
            session = Session(settings.get("context"), settings.get("data_dir"))
            found.extend(ask(Client(session.load(), timeout=PATIENCE)))
        except Exception:  # noqa: BLE001  # a completion has nowhere to complain
            found.clear()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return list(found)
