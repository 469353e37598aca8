"""A server with agents, as users have them, in a directory that goes away."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from typing import Any

from muster.agent.policy import own_name
from muster.kit.testing import free_port

ENV = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}


@dataclass
class Fleet:
    """A running server and its agents."""

    home: Path
    state: dict[str, Any]
    agents: "list[subprocess.Popen[bytes]]" = field(default_factory=list)

    @property
    def data_dir(self) -> Path:
        """The server's data directory."""
        return self.home / "server"

    def connect(self) -> "Client":
        """Return a kept-alive connection to the gateway."""
        return Client(int(self.state["port"]), (self.data_dir / "keys/local.token").read_text())

    def join(self, count: int) -> list[str]:
        """Let *count* agents join and run; return their names once all are online."""
        names = [f"bench{number:03d}" for number in range(count)]
        self.join_as(names)
        return names

    def join_as(self, names: Sequence[str]) -> None:
        """Let an agent join and run for each of *names*; return once all are online."""
        client = self.connect()
        lines = [client.ask("POST", "/join-tokens", {"name": name})["line"] for name in names]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self._join, names, lines))
        for name in names:
            self.agents.append(self._agent("run", name))
        end = time.monotonic() + 120
        while client.ask("GET", "/fleet/stats")["online"] < len(names):
            if time.monotonic() > end:
                raise TimeoutError("the agents do not come online")
            time.sleep(0.2)

    def _join(self, name: str, line: str) -> None:
        # the gateway lets an address try twenty times a minute
        while self._agent("join", name, line, "--users", own_name()).wait():
            time.sleep(5)

    def _agent(self, verb: str, name: str, *more: str) -> "subprocess.Popen[bytes]":
        place = self.home / name
        place.mkdir(exist_ok=True)
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "muster.agent", verb, *more, "--data-dir", place],
                env=ENV, stdout=log, stderr=log,
            )  # fmt: skip


class Client:
    """A program that talks to the REST API over one connection."""

    def __init__(self, port: int, token: str) -> None:
        """Connect to the gateway on this machine."""
        self._http = HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {token.strip()}",
            "Content-Type": "application/json",
        }

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Ask and return the answer."""
        data = None if body is None else json.dumps(body)
        try:
            self._http.request(method, f"/api/v1{path}", data, self._headers)
            answer = self._http.getresponse()
        except RemoteDisconnected:  # it has been idle for too long
            self._http.close()
            self._http.request(method, f"/api/v1{path}", data, self._headers)
            answer = self._http.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode()}")
        return json.loads(content) if content else None

    def run(self, names: Sequence[str]) -> float:
        """Run ``true`` on nodes; return the seconds to the last result."""
        began = time.perf_counter()
        body = {"command": {"argv": ["true"]}, "targets": {"names": list(names)}}
        run = self.ask("POST", "/runs", body)["id"]
        view = self.ask("GET", f"/runs/{run}?wait=30")
        seconds = time.perf_counter() - began
        if view["counts"] != {"done": len(names)}:
            raise RuntimeError(f"not all were done: {view['counts']}")
        return seconds


@contextmanager
def running(*options: str, dashboard: bool = False) -> Generator[Fleet]:
    """Run a server for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-") as folder:
        home = Path(folder)
        ports = ["--port", str(free_port()), "--nats-port", str(free_port())]
        with (home / "up.log").open("wb") as log:
            server = subprocess.Popen(
                [sys.executable, "-m", "muster.cli", "up", "--data-dir", home / "server",
                 "--no-agent", "--dashboard" if dashboard else "--no-dashboard", *ports, *options],
                env=ENV, stdout=log, stderr=log,
            )  # fmt: skip
        fleet = Fleet(home, {})
        try:
            fleet.state = _ready(home / "server" / "up.json", server)
            yield fleet
        finally:
            for process in (*fleet.agents, server):
                process.terminate()
            for process in (*fleet.agents, server):
                process.wait(timeout=30)


def _ready(path: Path, server: "subprocess.Popen[bytes]") -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        if path.exists():
            state: dict[str, Any] = json.loads(path.read_text())
            if state["ready"]:
                return state
        time.sleep(0.05)
    raise RuntimeError("the server does not start")
