"""Logging in from a browser: show a code, and wait until somebody has typed it there."""

import os
import platform
import sys
import time
from typing import Any, Final

import click

from muster.cli import human
from muster.cli.client import Client
from muster.cli.context import Context
from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t

_PAUSE: Final = 2.0


def by_browser(context: Context) -> str:
    """Return the secret of a session that a person has let in from a browser."""
    client = Client(context)
    told = client.send("POST", "/device", {"name": platform.node()[:200]})
    link = f"{context.url}/device?code={told['code']}"
    click.echo(t("login.web", url=f"{context.url}/device", code=told["code"]), err=True)
    if sys.stdout.isatty() and (os.environ.get("DISPLAY") or sys.platform in {"darwin", "win32"}):
        click.launch(link)
    until = human.moment(told["expires"])
    while until is None or time.time() < until.timestamp():
        time.sleep(_PAUSE)
        answer: dict[str, Any] = client.send("POST", "/device/token", {"secret": told["secret"]})
        if answer.get("token"):
            return str(answer["token"])
    raise Failure(t("login.web.late"), code=Exit.NO_ANSWER)
