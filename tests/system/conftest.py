"""The whole product as its users have it: `muster up` and real agents, each a process."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, Final

import pytest

from muster.agent.policy import own_name
from muster.kit.identity.certificates import client_context
from muster.kit.testing import free_port

ENV = {key: value for key, value in os.environ.items() if not key.startswith("MUSTER_")}

OWN: Final = own_name()
"""As whom the commands of the tests' agents run."""


def until(true: Callable[[], Any], seconds: float = 30, what: str = "") -> Any:
    """Wait until *true* returns something, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.03)
    raise TimeoutError(what or "it did not happen")


@dataclass
class Agent:
    """An agent of its own on this host, joined with a token."""

    data_dir: Path
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def id(self) -> str:
        """The node's id."""
        found: dict[str, Any] = json.loads((self.data_dir / "identity.json").read_text())
        return str(found["node"])

    def start(self, *prefix: str) -> None:
        """Run it; *prefix* may put it into a network namespace."""
        with (self.data_dir / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "muster.agent", "run", "--data-dir", self.data_dir],
                stdout=log, stderr=log, env=ENV, start_new_session=True,
            )  # fmt: skip

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by its pid."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(timeout=15)
            self.process = None


@dataclass
class Server:
    """A `muster up` in a data directory of its own."""

    data_dir: Path
    options: tuple[str, ...] = ("--no-agent", "--no-dashboard")
    process: "subprocess.Popen[str] | None" = None
    agents: list[Agent] = field(default_factory=list)
    port: int = field(default_factory=free_port)
    nats_port: int = field(default_factory=free_port)
    screen: str = ""

    def start(self) -> None:
        """Start it and wait until it says that it is ready."""
        ports = ("--port", str(self.port), "--nats-port", str(self.nats_port))
        self.data_dir.mkdir(exist_ok=True, mode=0o700)
        told = self.data_dir.parent / f"{self.data_dir.name}.out"
        with told.open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "muster.cli", "up", "--data-dir", self.data_dir, *ports,
                 *self.options],
                stdout=out, stderr=out, env=ENV, start_new_session=True, text=True,
            )  # fmt: skip
        until(self._up, 90, "muster up")
        until(lambda: "muster down" in told.read_text(), 10, "what muster up says")
        self.screen = told.read_text()

    def _up(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            out = (self.data_dir.parent / f"{self.data_dir.name}.out").read_text()
            pytest.fail(f"muster up ended with {self.process.returncode}:\n{out}")
        state = self.state()
        return bool(state.get("ready")) and state["pid"] == self.process.pid

    def state(self) -> dict[str, Any]:
        """Return what the server has written down of itself."""
        try:
            found: dict[str, Any] = json.loads((self.data_dir / "up.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by its pid; return the exit code."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(timeout=30)
        self.process = None
        return code

    @property
    def url(self) -> str:
        """The gateway."""
        return str(self.state()["local_url"])

    @property
    def tls(self) -> ssl.SSLContext | None:
        """What trusts the server's CA, and no other."""
        secure = self.url.startswith("https:")
        return client_context((self.data_dir / "tls/ca.pem").read_text()) if secure else None

    @property
    def token(self) -> str:
        """The local administrator's API token."""
        return (self.data_dir / "keys" / "local.token").read_text().strip()

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Ask the REST API as the local administrator."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v1{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self.token}",
                "Content-Type": "application/json",
                **headers,
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=40, context=self.tls) as answer:  # noqa: S310
                data = answer.read()
        except urllib.error.HTTPError as error:
            pytest.fail(f"{method} {path}: {error.code} {error.read().decode()}")
        return json.loads(data) if data else None

    def muster(self, *words: str, **more: Any) -> "subprocess.CompletedProcess[str]":
        """Run the command line."""
        return subprocess.run(
            [sys.executable, "-m", "muster.cli", *words],
            env={**ENV, "MUSTER_DATA_DIR": str(self.data_dir)},
            capture_output=True, text=True, timeout=60, check=False, **more,
        )  # fmt: skip

    def join(self, name: str, *, start: bool = True) -> Agent:
        """Let an agent join as *name*."""
        line = self.api("POST", "/join-tokens", {"name": name})["line"]
        agent = Agent(self.data_dir.parent / f"agent-{name}")
        done = subprocess.run(
            [sys.executable, "-m", "muster.agent", "join", line, "--data-dir", agent.data_dir,
             "--users", OWN],
            env=ENV, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self.agents.append(agent)
        if start:
            agent.start()
            self.online(name)
        return agent

    def node(self, name: str) -> dict[str, Any]:
        """Return a node."""
        found: dict[str, Any] = self.api("GET", f"/nodes/{name}")
        return found

    def online(self, name: str, seconds: float = 30) -> None:
        """Wait until a node is online."""
        until(lambda: self._state(name) == "online", seconds, f"{name} online")

    def _state(self, name: str) -> str:
        items = self.api("GET", f"/nodes?query={name}")["items"]
        return next((str(one["state"]) for one in items if one["name"] == name), "")

    def run(self, argv: list[str], *nodes: str, **more: Any) -> str:
        """Start a run; return its id."""
        body = {"command": {"argv": argv, **more.pop("command", {})}, "targets": {"names": nodes}}
        return str(self.api("POST", "/runs", {**body, **more})["id"])

    def over(self, run: str, seconds: float = 40) -> dict[str, Any]:
        """Wait for the end of a run; return it."""

        def look() -> dict[str, Any] | None:
            view: dict[str, Any] = self.api("GET", f"/runs/{run}?wait=5")
            return view if view["finished"] else None

        found: dict[str, Any] = until(look, seconds, f"the end of {run}")
        return found

    def target(self, run: str, number: int = 0) -> dict[str, Any]:
        """Return one target of a run."""
        found: dict[str, Any] = self.api("GET", f"/runs/{run}")["targets"][number]
        return found

    def output(self, run: str, node: str, stream: str = "stdout") -> bytes:
        """Return the stored output of one target."""
        with self.get(f"/runs/{run}/output/{node}/{stream}") as answer:
            data: bytes = answer.read()
        return data

    def get(self, path: str) -> HTTPResponse:
        """Ask for bytes as the local administrator; the answer is to be read and closed."""
        request = urllib.request.Request(  # noqa: S310
            f"{self.url}/api/v1{path}", headers={"Authorization": f"Bearer {self.token}"}
        )
        answer: HTTPResponse = urllib.request.urlopen(request, timeout=40, context=self.tls)  # noqa: S310
        return answer

    def close(self) -> None:
        """End everything."""
        for agent in self.agents:
            agent.kill()
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Return a function that makes servers, not yet started; all are ended with the test."""
    made: list[Server] = []

    def make(*options: str) -> Server:
        given = options or ("--no-agent", "--no-dashboard")
        server = Server(tmp_path / f"server{len(made)}", given)
        made.append(server)
        return server

    try:
        yield make
    finally:
        for server in made:
            server.close()


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """Run one server without agent and dashboard."""
    made = make_server()
    made.start()
    return made


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run one server with two agents, `one` and `two`, for the tests of a module."""
    made = Server(tmp_path_factory.mktemp("home") / "server")
    try:
        made.start()
        made.join("one")
        made.join("two")
        yield made
    finally:
        made.close()
