"""A real browser, the real dashboard process, and a gateway whose fleet never stands still."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from muster.kit.testing import free_port

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Run Debian's chromium."""
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@dataclass
class RestlessFleet:
    """The part of the gateway that the fleet's page asks; each look has another order."""

    port: int = field(default_factory=free_port)
    dice: random.Random = field(default_factory=lambda: random.Random(11))  # noqa: S311
    started: list[list[str]] = field(default_factory=list)
    orders: int = 0
    """How many different orders have been told."""

    def __post_init__(self) -> None:
        """Make thirty nodes."""
        self.names = {f"n{'abcdefgh'[i % 8] * 12}{i:04d}"[:17]: f"web-{i:02d}" for i in range(30)}

    def node(self, id_: str) -> dict[str, Any]:
        """Return a node as the API does."""
        return {
            "id": id_, "name": self.names[id_], "state": "online", "groups": [], "tags": {},
            "joined": "2026-01-01T00:00:00Z", "state_since": "2026-01-01T00:00:00Z",
            "seen": "2026-01-01T00:00:00Z", "reason": "", "skew": 0, "version": "1",
            "trouble": "", "inventory": None, "metrics": None, "metrics_at": None, "seq": 1,
        }  # fmt: skip

    async def nodes(self, _request: Request) -> Response:
        """Return some of the nodes in a new order; some come, some go."""
        ids = list(self.names)
        self.dice.shuffle(ids)
        ids = ids[: self.dice.randint(20, 30)]
        self.orders += 1
        return JSONResponse({"items": [self.node(id_) for id_ in ids], "next": ""})

    async def one(self, request: Request) -> Response:
        """Return one node."""
        return JSONResponse(self.node(request.path_params["id"]))

    async def start(self, request: Request) -> Response:
        """Take a run and remember its targets."""
        body = await request.json()
        self.started.append(body["targets"]["names"])
        return JSONResponse({"id": "01m7xgahzb8tm7bng056hx267f"}, 202)

    def app(self) -> Starlette:
        """Return the application."""

        async def me(_request: Request) -> Response:
            return JSONResponse({"name": "admin", "roles": [], "permissions": ["*"]})

        async def stats(_request: Request) -> Response:
            count = len(self.names)
            numbers = {"nodes": count, "online": count, "offline": 0, "new": 0, "revoked": 0}
            return JSONResponse(numbers)

        async def nothing(_request: Request) -> Response:
            return JSONResponse({"detail": "not here"}, 404)

        return Starlette(
            routes=[
                Route("/api/v1/me", me),
                Route("/api/v1/fleet/stats", stats),
                Route("/api/v1/nodes", self.nodes),
                Route("/api/v1/nodes/{id}", self.one),
                Route("/api/v1/runs", self.start, methods=["POST"]),
                Route("/api/v1/runs/{rest:path}", nothing),
            ]
        )


@pytest.fixture
def fleet() -> Iterator[RestlessFleet]:
    """Serve a restless fleet."""
    made = RestlessFleet()
    config = uvicorn.Config(made.app(), port=made.port, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    yield made
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture
def dashboard(fleet: RestlessFleet, tmp_path: Path) -> Iterator[str]:
    """Run the dashboard as a process before the restless fleet; yields its URL."""
    port = free_port()
    env = {
        **os.environ,
        "MUSTER_DASHBOARD_LISTEN": f"127.0.0.1:{port}",
        "MUSTER_DASHBOARD_GATEWAY": f"http://127.0.0.1:{fleet.port}",
        "MUSTER_DASHBOARD_REFRESH": "0.7",
    }
    with (tmp_path / "dashboard.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster.dashboard"], env=env, stdout=log, stderr=log
        )
        url = f"http://127.0.0.1:{port}"
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(url + "/healthz", timeout=2).close()  # noqa: S310
                    break
                except OSError:
                    assert time.monotonic() < end, (tmp_path / "dashboard.log").read_text()
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=15)


def status_of(url: str, cookie: str = "") -> int:
    """Return the HTTP status of *url*."""
    request = urllib.request.Request(url, headers={"Cookie": cookie} if cookie else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
