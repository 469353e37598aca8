"""The parts of the server that run services: as tasks of this process, or one process each."""

import asyncio
import importlib
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from muster.cli.server.children import Child
from muster.cli.server.layout import SERVICES, Layout
from muster.contracts.errors import Unavailable
from muster.kit import settings

Serve = Callable[[Any, asyncio.Event], Awaitable[None]]


def installed() -> list[str]:
    """Return the services that can be started, in the order in which they should be."""
    there = {point.name for point in entry_points(group="muster.services")}
    if missing := [name for name in SERVICES if name not in there]:
        raise Unavailable(f"these services are not installed: {', '.join(missing)}")
    return [*SERVICES, *sorted(there - set(SERVICES))]


def task_of(
    name: str, layout: Layout, values: dict[str, Any]
) -> Callable[[asyncio.Event], Awaitable[None]]:
    """Return a function that serves *name* in this process until its event is set."""
    point = next(p for p in entry_points(group="muster.services", name=name))
    serve: Serve = point.load()
    kind: type[BaseModel] = importlib.import_module(f"muster.{name}.settings").Settings
    options = settings.load(kind, name, toml=layout.settings, given=values).settings

    return partial(serve, options)


def child_of(name: str, layout: Layout, values: dict[str, Any], log_level: str) -> Child:
    """Return *name* as a process of its own."""
    env = {
        settings.variable(name, key): ",".join(value) if isinstance(value, list) else str(value)
        for key, value in values.items()
    }
    env[settings.variable(name, "log_level")] = log_level
    return Child(
        name=name,
        argv=[sys.executable, "-m", f"muster.{name}"],
        log_file=layout.logs / f"{name}.log",
        env={k: v for k, v in env.items() if v},
    )


def dashboard(layout: Layout, socket: Path, gateway: str, ca: str) -> Child:
    """Return the dashboard, on a *socket* that only we can reach."""
    socket.unlink(missing_ok=True)
    return Child(
        name="dashboard",
        argv=[sys.executable, "-m", "muster.dashboard"],
        log_file=layout.logs / "dashboard.log",
        env={
            "MUSTER_DASHBOARD_LISTEN": f"unix:{socket}",
            "MUSTER_DASHBOARD_GATEWAY": gateway,
            "MUSTER_DASHBOARD_CA": ca,
        },
    )


def agent(layout: Layout) -> Child:
    """Return the agent of this host."""
    return Child(
        name="agent",
        argv=[sys.executable, "-m", "muster.agent", "run", "--data-dir", str(layout.agent)],
        log_file=layout.logs / "agent.log",
        env={"PATH": os.environ.get("PATH", os.defpath)},
    )
