"""`muster doctor`: what could be wrong with this server, and what to do about it."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from muster.cli.i18n import t
from muster.cli.server import ports
from muster.cli.server.layout import Layout, read_state
from muster.cli.server.place import data_dir_option
from muster.cli.server.status import look

Verdict = Literal["ok", "warning", "error"]
_LITTLE = 2 * 1024**3
_TOO_LITTLE = 512 * 1024**2


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was looked at, how it is, and what to do."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


@click.command(help=t("server.doctor.help"))
@data_dir_option
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help=t("server.status.output"),
)
def doctor(data_dir: Path, output: str) -> None:
    """Check the server; exit code 1 if something is wrong."""
    findings = examine(Layout(data_dir.resolve()))
    if output == "json":
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _show(findings)
    sys.exit(1 if any(finding.verdict == "error" for finding in findings) else 0)


def examine(layout: Layout) -> list[Finding]:
    """Return the findings of every check."""
    checks: list[Callable[[Layout], Iterator[Finding]]] = [
        _versions, _directory, _permissions, _disk, _ports, _server, _clock,
    ]  # fmt: skip
    return [finding for check in checks for finding in check(layout)]


def _show(findings: list[Finding]) -> None:
    marks = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "error": ("✗", "red")}
    for finding in findings:
        mark, colour = marks[finding.verdict]
        click.echo(f"{click.style(mark, fg=colour)} {finding.check}: {finding.detail}")
        if finding.advice:
            click.echo(f"    {finding.advice}")


def _versions(_layout: Layout) -> Iterator[Finding]:
    from muster.cli.server.broker import binary  # noqa: PLC0415
    from muster.contracts.errors import Unavailable  # noqa: PLC0415

    check = t("server.doctor.versions")
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        argv = [binary(), "--version"]
        run = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=True)  # noqa: S603
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        yield Finding(check, "error", str(error), t("server.doctor.install"))
    else:
        yield Finding(check, "ok", f"Python {python}, {run.stdout.strip()}")


def _directory(layout: Layout) -> Iterator[Finding]:
    check = t("server.doctor.directory")
    if not layout.root.exists():
        yield Finding(
            check, "warning", t("server.doctor.no_dir", dir=str(layout.root)), "muster up"
        )
    elif not os.access(layout.root, os.W_OK):
        yield Finding(check, "error", str(layout.root), t("server.doctor.not_writable"))
    else:
        yield Finding(check, "ok", str(layout.root))


def _permissions(layout: Layout) -> Iterator[Finding]:
    """Keys and databases must be for their owner alone."""
    if not layout.root.exists():
        return
    check = t("server.doctor.permissions")
    secret = [layout.root, *layout.root.glob("keys/*"), *layout.root.glob("creds/*")]
    secret += [
        *layout.root.glob("*.db"),
        *layout.root.glob("tls/*.key"),
        *layout.root.glob("*.json"),
    ]
    wide = [path for path in secret if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if wide:
        names = " ".join(str(path) for path in wide)
        yield Finding(check, "error", t("server.doctor.wide", names=names), f"chmod go= {names}")
    else:
        yield Finding(check, "ok", t("server.doctor.private", count=len(secret)))


def _disk(layout: Layout) -> Iterator[Finding]:
    place = next(path for path in (layout.root, *layout.root.parents) if path.exists())
    free = shutil.disk_usage(place).free
    detail = t("server.doctor.free", size=f"{free / 1024**3:.1f} GiB")
    if free < _LITTLE:
        verdict: Verdict = "error" if free < _TOO_LITTLE else "warning"
        yield Finding(t("server.doctor.disk"), verdict, detail, t("server.doctor.make_room"))
    else:
        yield Finding(t("server.doctor.disk"), "ok", detail)


def _ports(layout: Layout) -> Iterator[Finding]:
    check = t("server.doctor.ports")
    state = read_state(layout)
    if state:
        yield Finding(check, "ok", f"HTTP {state['port']}, NATS {state['nats_port']}")
        return
    taken = [port for port in (8420, 4222) if not ports.is_free("127.0.0.1", port)]
    if taken:
        names = ", ".join(map(str, taken))
        detail = t("server.doctor.taken", ports=names)
        yield Finding(check, "warning", detail, t("server.doctor.other_port"))
    else:
        yield Finding(check, "ok", t("server.doctor.ports_free"))


def _server(layout: Layout) -> Iterator[Finding]:
    check = t("server.doctor.server")
    found = look(layout)
    if not found["running"]:
        stopped = t("server.status.stopped", dir=found["data_dir"])
        yield Finding(check, "warning", stopped, "muster up")
    elif not found["ready"]:
        detail = json.dumps(found["health"])[:500]
        yield Finding(check, "error", detail, "muster logs")
    else:
        yield Finding(check, "ok", found["url"])


def _clock(_layout: Layout) -> Iterator[Finding]:
    """Signed commands expire: a clock that nobody sets makes agents refuse them."""
    check = t("server.doctor.clock")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    timedatectl = shutil.which("timedatectl")
    if timedatectl is None:
        yield Finding(check, "ok", now)
        return
    argv = [timedatectl, "show", "--property=NTPSynchronized", "--value"]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout  # noqa: S603
    if said.strip() == "no":
        yield Finding(check, "warning", now, t("server.doctor.set_clock"))
    else:
        yield Finding(check, "ok", now)
