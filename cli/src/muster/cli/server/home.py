"""The running server: every part, started in order, watched, and ended in reverse."""

import asyncio
import json
import logging
import os
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from muster.cli.server import broker, certificates, parts, ports
from muster.cli.server.children import Child
from muster.cli.server.layout import Layout, write_state
from muster.cli.server.settings import ServerSettings
from muster.cli.server.world import prepare
from muster.contracts.errors import Conflict, Unavailable
from muster.kit import logs
from muster.kit.files import write_private
from muster.kit.identity.authorities import Authorities
from muster.kit.identity.certificates import client_context
from muster.kit.run import supervise
from muster.kit.tasks import running

log = logging.getLogger(__name__)

_START: Final = 60.0
_GRACE: Final = 7.0
_SOCKET_PATH: Final = 100
"""Bytes: unix(7) allows 108 with the terminating zero, macOS 104."""


@dataclass(frozen=True, slots=True)
class Where:
    """Where the server can be reached."""

    host: str
    address: str
    """The name that other hosts use."""
    port: int
    nats_port: int
    monitor_port: int
    tls: bool

    @property
    def url(self) -> str:
        """The gateway, for people and for hosts that join."""
        return f"{'https' if self.tls else 'http'}://{_bracketed(self.address)}:{self.port}"

    @property
    def local_url(self) -> str:
        """The gateway, from this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, _bracketed(self.host))  # noqa: S104
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    def nats_url(self, host: str) -> str:
        """The broker, under *host*."""
        return f"{'tls' if self.tls else 'nats'}://{_bracketed(host)}:{self.nats_port}"

    @property
    def local_nats(self) -> str:
        """The broker, from this machine."""
        return self.nats_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))  # noqa: S104


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def find_place(options: ServerSettings, last: Mapping[str, Any]) -> Where:
    """Choose addresses and ports; those of the *last* start are kept if they can be."""
    host = options.listen
    local = ports.is_loopback(host)
    anywhere = host in {"0.0.0.0", "::"}  # noqa: S104
    if anywhere and not options.address:
        raise Conflict(
            f"listening on {host} needs --address NAME: how other hosts reach this server"
        )
    return Where(
        host=host,
        address=options.address or host,
        port=ports.choose(host, options.port, last.get("port", 0), 8420, "HTTP"),
        nats_port=ports.choose(
            host, options.nats_port, last.get("nats_port", 0), 4222, "the broker"
        ),
        monitor_port=ports.choose("127.0.0.1", 0, last.get("monitor_port", 0), 8222, "monitoring"),
        tls=not local,
    )


class Home:
    """One server in one data directory."""

    def __init__(self, layout: Layout, options: ServerSettings, lock: int) -> None:
        """Run in *layout*, whose *lock* we hold."""
        self.layout = layout
        self.options = options
        self.lock = lock
        self.began = time.monotonic()
        self.ca = ""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Where]:
        """Start everything, yield when it is ready, end it in reverse."""
        where = find_place(self.options, self._last_ports())
        self.where = where
        self.ca = prepare(self.layout, self.options, where)
        async with AsyncExitStack() as stack:
            self.socket = stack.enter_context(_socket(self.layout))
            self._state(ready=False)
            stack.callback(self.layout.state.unlink, missing_ok=True)
            await self._broker(stack)
            for name in parts.installed():
                await self._service(stack, name)
            await self._gateway_ready()
            self._write_context()
            if self.options.dashboard:
                url, ca = where.local_url, self.ca
                await self._watch(stack, parts.dashboard(self.layout, self.socket, url, ca))
            if self.options.agent:
                await self._join_here()
                await self._watch(stack, parts.agent(self.layout))
            self._remember_ports()
            self._state(ready=True)
            yield where

    async def _broker(self, stack: AsyncExitStack) -> None:
        where, child = self.where, broker.child(self.layout, self.lock)
        await self._watch(stack, child)
        await broker.healthy(where.monitor_port)
        if where.tls:
            keeping = certificates.keep(self.layout, self.options, where, child)
            await stack.enter_async_context(running(keeping, "certificates"))

    async def _watch(self, stack: AsyncExitStack, child: Child) -> None:
        await stack.enter_async_context(_kept(child.name, child.run))

    async def _service(self, stack: AsyncExitStack, name: str) -> None:
        values = self._values(name)
        if self.options.processes:
            await self._watch(
                stack, parts.child_of(name, self.layout, values, self.options.log_level)
            )
        else:
            serve = parts.task_of(name, self.layout, values)
            own = self.layout.logs / f"{name}.log"
            stack.enter_context(logs.file_of(name, own, self.options.log_format))
            await stack.enter_async_context(_kept(name, serve))

    def _values(self, name: str) -> dict[str, Any]:
        """Return the settings that follow from where everything is."""
        where, tls = self.where, self.where.tls
        values: dict[str, Any] = {
            "data_dir": str(self.layout.root),
            "nats": [where.local_nats],
            "ca": self.ca or None,
        }
        if name == "authority":
            values |= {"node_urls": [where.nats_url(where.address)], "public_url": where.url}
        if name == "gateway":
            own = self.options.tls_cert, self.options.tls_key
            mine = Authorities(self.layout.tls)
            cert, key = own if all(own) else (mine.server, mine.server)
            values |= {
                "host": where.host,
                "port": where.port,
                "public_url": where.url,
                "tls_cert": str(cert) if tls else None,
                "tls_key": str(key) if tls else None,
                "web_ca": str(mine.bundle) if tls and not all(own) else None,
                "dashboard": f"unix:{self.socket}" if self.options.dashboard else "",
            }
        return {key: value for key, value in values.items() if value is not None}

    async def _gateway_ready(self) -> None:
        """Wait until the gateway says that everything behind it answers."""
        problem = ""
        try:
            async with asyncio.timeout(_START):
                while problem := await asyncio.to_thread(self._problem):
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise Unavailable(f"the server does not get ready: {problem}") from error

    def _problem(self) -> str:
        try:
            status, body = self.http("GET", "/readyz")
        except OSError as error:
            return str(error)
        return "" if status == 200 and self.layout.local_token.exists() else str(body)  # noqa: PLR2004

    def http(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask our own gateway, as the local administrator."""
        headers = {"Content-Type": "application/json"}
        if self.layout.local_token.exists():
            headers["Authorization"] = f"Bearer {self.layout.local_token.read_text().strip()}"
        request = urllib.request.Request(  # noqa: S310
            self.where.local_url + path,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
            method=method,
        )
        ca = Authorities(self.layout.tls).bundle
        context = client_context(ca.read_text()) if self.where.tls else None
        try:
            with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
                return answer.status, _parsed(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _parsed(error.read())

    async def _join_here(self) -> None:
        """Let the local agent join like any other host, if it has not."""
        if (self.layout.agent / "identity.json").exists():
            return
        ask = {"note": "this host", "groups": ["server"]}
        status, token = await asyncio.to_thread(self.http, "POST", "/api/v1/join-tokens", ask)
        if status >= 300:  # noqa: PLR2004
            raise Unavailable(f"no join token for the local agent: {token}")
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "muster.agent", "join", "-",
            "--data-dir", str(self.layout.agent),
            *(["--users", "root"] if os.geteuid() == 0 else []),
            stdin=asyncio.subprocess.PIPE,  # other users can read the words of a command
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate(token["line"].encode())
        if process.returncode:
            raise Unavailable(f"the local agent could not join: {said.decode(errors='replace')}")

    def _write_context(self) -> None:
        """Let the CLI of the same user find us, as the administrator."""
        context = {
            "url": self.where.local_url,
            "token": self.layout.local_token.read_text().strip(),
            "ca": self.ca or None,
            "person": "admin",
        }
        write_private(self.layout.context, json.dumps(context))

    def _state(self, *, ready: bool) -> None:
        where = self.where
        state = {
            "pid": os.getpid(),
            "ready": ready,
            "url": where.url,
            "local_url": where.local_url,
            "port": where.port,
            "nats_port": where.nats_port,
            "monitor_port": where.monitor_port,
            "tls": where.tls,
            "processes": self.options.processes,
            "agent": self.options.agent,
            "dashboard": self.options.dashboard,
            "seconds": round(time.monotonic() - self.began, 3),
            "started": time.time(),
        }
        write_state(self.layout, state)

    def _last_ports(self) -> dict[str, int]:
        try:
            found: dict[str, int] = json.loads((self.layout.root / "ports.json").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def _remember_ports(self) -> None:
        """Keep the ports: agents that have joined come back to them."""
        where = self.where
        remembered = {
            "port": where.port,
            "nats_port": where.nats_port,
            "monitor_port": where.monitor_port,
        }
        write_private(self.layout.root / "ports.json", json.dumps(remembered))


@asynccontextmanager
async def _kept(
    name: str, serve: Callable[[asyncio.Event], Awaitable[None]]
) -> AsyncGenerator[None]:
    """Run a part beside the block, again whenever it crashes; told to end when the block ends."""
    stop = asyncio.Event()
    async with running(supervise(name, lambda: serve(stop), stop), name) as task:
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait([task], timeout=_GRACE)


@contextmanager
def _socket(layout: Layout) -> Iterator[Path]:
    """Yield the path of the dashboard's socket; below a long data directory it would not fit."""
    if len(os.fsencode(layout.dashboard)) <= _SOCKET_PATH:
        yield layout.dashboard
        return
    with tempfile.TemporaryDirectory(prefix="muster-") as short:
        yield Path(short) / layout.dashboard.name


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode(errors="replace")
