"""`muster status`: is the server there, and what of it."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import click

from muster.cli.i18n import t
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.place import data_dir_option


@click.command(help=t("server.status.help"))
@data_dir_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help=t("server.status.output"),
)
def status(data_dir: Path, output: str) -> None:
    """Say whether the server runs and whether all its parts answer."""
    layout = Layout(data_dir.resolve())
    found = look(layout)
    if output == "json":
        click.echo(json.dumps(found, indent=2))
    else:
        _show(found)
    sys.exit(0 if found["ready"] else 12)


def look(layout: Layout) -> dict[str, Any]:
    """Return what is known of the server: ``running``, ``ready``, where, and its parts."""
    state = read_state(layout)
    found: dict[str, Any] = {"data_dir": str(layout.root), "running": False, "ready": False}
    if state is None:
        return found
    found |= {"running": True, **state}
    health = _health(state["local_url"], layout)
    found["health"] = health
    found["fingerprint"] = _fingerprint(layout) if state.get("tls") else ""
    found["ready"] = bool(state["ready"]) and health.get("status") == "ok"
    return found


def _fingerprint(layout: Layout) -> str:
    """Return what a person compares who logs in from elsewhere."""
    from muster.kit.identity.certificates import fingerprint  # noqa: PLC0415

    try:
        return fingerprint((layout.root / "tls" / "ca.pem").read_bytes())
    except (OSError, ValueError):
        return ""


def _health(url: str, layout: Layout) -> dict[str, Any]:
    context = None
    if url.startswith("https"):
        from muster.kit.identity.certificates import client_context  # noqa: PLC0415

        context = client_context((layout.root / "tls" / "ca.pem").read_text())
    try:
        with urllib.request.urlopen(url + "/health", timeout=5, context=context) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
    except (OSError, ValueError) as error:
        return {"status": "unreachable", "detail": str(error)}
    return found


def _show(found: dict[str, Any]) -> None:
    if not found["running"]:
        click.echo(t("server.status.stopped", dir=found["data_dir"]))
        return
    word = t("server.status.ready") if found["ready"] else t("server.status.not_ready")
    click.echo(f"{word}  {found['url']}  (pid {found['pid']}, {found['data_dir']})")
    if found["fingerprint"]:
        click.echo(f"  {t('server.status.fingerprint')}  {found['fingerprint']}")
    for name, answers in sorted((found["health"].get("services") or {}).items()):
        state = t("server.status.ready") if answers else t("server.status.not_ready")
        click.echo(f"  {name:<12} {state}")
    if detail := found["health"].get("detail"):
        click.echo(f"  {detail}")
