"""The root that every service stands on: settings, logs, bus, database, health.

A service's ``__main__`` has ``serve(settings, stop)``; ``muster up`` calls it for all services in
one process, ``main_of`` for one service in a process of its own. Nothing else differs.
"""

import asyncio
import base64
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from muster.contracts.errors import MusterError
from muster.contracts.people import RIGHTS_AFTER, RIGHTS_CHANGED, RightsAfter, RightsChanged
from muster.kit import bus, logs, settings
from muster.kit.bus import Bus
from muster.kit.client import Trust
from muster.kit.durable import ensure_streams
from muster.kit.health import Health
from muster.kit.identity.certificates import client_context
from muster.kit.run import run
from muster.kit.sql import Database, open_database
from muster.kit.tasks import running

_AGAIN: Final = 1.0

log = logging.getLogger(__name__)


class ServiceSettings(BaseModel):
    """What every service can be told; a path that is left out lies in the data directory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Path = Field(description="the server's data directory")
    nats: list[str] = Field(
        default=["nats://127.0.0.1:4222"], description="where the broker listens"
    )
    creds: Path | None = Field(default=None, description="credentials for the broker")
    ca: Path | None = Field(
        default=None, description="CA of the broker, in PEM; without it there is no TLS"
    )
    authority_keys: Path | None = Field(
        default=None, description="file with the authority's public keys"
    )
    database: str = Field(default="", description="URL of the database; SQLite if empty")
    health_port: int = Field(
        default=0, ge=0, le=65535, description="port for /healthz, /readyz, /metrics; 0: none"
    )
    log_level: logs.Level = Field(default="info", description="how much is logged")
    log_format: logs.Form = Field(default="console", description="form of the log lines")

    def creds_of(self, name: str) -> Path:
        """Return the credentials file of the connection *name*."""
        return self.creds or self.data_dir / "creds" / f"{name}.creds"

    def database_of(self, name: str) -> str:
        """Return the URL of the service's own database."""
        return self.database or f"sqlite:///{self.data_dir / f'{name}.db'}"

    def public_keys(self) -> tuple[bytes, ...]:
        """Return the authority's public keys, raw, with which tickets are verified."""
        path = self.authority_keys or self.data_dir / "keys" / "authority.pub"
        return tuple(base64.b64decode(line) for line in path.read_text().split())


S = TypeVar("S", bound=ServiceSettings)


@dataclass(frozen=True, slots=True)
class Root:
    """What a service works with."""

    bus: Bus
    db: Database
    health: Health
    _ready: asyncio.Event = field(default_factory=asyncio.Event)

    def ready(self) -> None:
        """Say that the service answers from now on."""
        self._ready.set()

    async def check_ready(self) -> None:
        """Fail unless the service has said that it is ready."""
        if not self._ready.is_set():
            raise RuntimeError("still starting")


async def _check_bus(line: Bus) -> None:
    if not line.connected:
        raise RuntimeError("no connection to the broker")


@asynccontextmanager
async def connection(
    name: str, options: ServiceSettings, creds: Path | None = None
) -> AsyncGenerator[Bus]:
    """Open a bus as *name* with the service's settings."""
    ca = options.ca
    trust = Trust(lambda: client_context(ca.read_text()) if ca else None)  # it may be another now
    async with bus.connect(
        options.nats,
        name=name,
        creds=creds or options.creds_of(name),
        trust=trust,
        keys=options.public_keys(),
        slowest=1.0,
    ) as line:
        yield line


@asynccontextmanager
async def keeping_up(line: Bus) -> AsyncGenerator[None]:
    """Know of every change of rights, those that were told while we were not connected too."""
    behind = asyncio.Event()
    behind.set()

    async def reconnected() -> None:
        behind.set()

    async def hear(change: RightsChanged, tokens: tuple[str, ...]) -> None:
        del tokens
        line.rights.heard(change)

    async def catch_up() -> None:
        while True:
            await behind.wait()
            behind.clear()
            try:
                missed = RightsAfter(revision=line.rights.revision)
                line.rights.heard(await line.ask(RIGHTS_AFTER, missed))
            except MusterError as error:  # without the authority, nobody's rights change
                log.debug("changes of rights could not be asked for: %s", error)
                behind.set()
                await asyncio.sleep(_AGAIN)

    line.on_connect(reconnected)
    async with line.listening(RIGHTS_CHANGED, hear), running(catch_up(), "keeping up with rights"):
        yield


@asynccontextmanager
async def service_root(name: str, options: ServiceSettings) -> AsyncGenerator[Root]:
    """Open what the service *name* needs, in order; let go of it in reverse."""
    async with (
        open_database(options.database_of(name), migrations=f"muster.{name}") as db,
        connection(name, options) as line,
    ):
        health = Health()
        root = Root(line, db, health)
        health.check("bus", lambda: _check_bus(line))
        health.check("database", db.check)
        health.check("service", root.check_ready)
        await ensure_streams(line.client)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(keeping_up(line))
            if options.health_port:
                await stack.enter_async_context(health.serving(options.health_port))
            yield root


def main_of(name: str, kind: type[S], serve: Callable[[S, asyncio.Event], Awaitable[None]]) -> None:
    """Run one service in this process until it is told to end."""
    options = settings.load(kind, name).settings
    logs.setup(options.log_level, options.log_format)
    with logs.speaking_as(name):
        sys.exit(run(lambda stop: serve(options, stop)))
