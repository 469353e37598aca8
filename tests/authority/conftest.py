"""The authority, composed as in production, on a real broker."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from muster.authority.part import Tools
from muster.authority.service import Authority
from muster.authority.settings import Settings
from muster.contracts.authority import (
    CREATE_JOIN_TOKEN,
    EXCHANGE,
    JOIN,
    LIST_AUDIT,
    LOGIN,
    RECHECK,
    SIGN,
    AuditRecord,
    CreateJoinToken,
    Exchange,
    Granted,
    Join,
    Joined,
    JoinTokenCreated,
    ListAudit,
    Login,
    Origin,
    Session,
)
from muster.contracts.names import new_id
from muster.contracts.people import ACCEPT, CREATE_USER, PUT_ROLE, Accept, CreateUser
from muster.contracts.policy import Grant, Role
from muster.kit.bus import Bus
from muster.kit.durable import ensure_streams
from muster.kit.files import write_private
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from muster.kit.outbox import relaying
from muster.kit.sql import Database, open_database
from muster.kit.tasks import running
from muster.kit.testing import Broker

HOME = Origin(address="192.0.2.7", agent="a browser")


@dataclass
class Clock:
    """The wall clock, which a test may turn."""

    ahead: timedelta = timedelta()

    def __call__(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + self.ahead


@dataclass
class Stage:
    """The authority and a client of it."""

    broker: Broker
    client: Bus
    scheduler: Bus
    settings: Settings
    database: str
    clock: Clock = field(default_factory=Clock)

    @asynccontextmanager
    async def playing(self) -> AsyncGenerator[Authority]:
        """Run the authority for the length of the block."""
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            db = await enter(open_database(self.database, migrations="muster.authority"))
            bus = await enter(self.broker.connect("authority"))
            await ensure_streams(bus.client)
            system = await enter(self.broker.connect("authority-sys"))
            tools = Tools(self.broker.world, db, bus, system, self.settings, now=self.clock)
            authority = Authority(tools)
            await authority.prepare()
            await enter(relaying(db, bus))
            await enter(running(authority.forever(), "authority"))
            await enter(bus.serving(authority, name="authority", version="0.0.1"))
            yield authority

    @property
    def first(self) -> dict[str, str]:
        """Name and one-time password of the first administrator."""
        found: dict[str, str] = json.loads((self.broker.data_dir / "first-login.json").read_text())
        return found

    async def login(self, password: str, name: str = "admin", origin: Origin = HOME) -> Session:
        """Log in."""
        return await self.client.ask(LOGIN, Login(name=name, password=password, origin=origin))

    async def exchange(self, secret: str) -> Granted:
        """Get a ticket."""
        return await self.client.ask(EXCHANGE, Exchange(secret=secret, origin=HOME))

    async def token(self, **wishes: Any) -> JoinTokenCreated:
        """Make a join token."""
        return await self.client.ask(
            CREATE_JOIN_TOKEN, CreateJoinToken(**wishes), ticket=self.broker.ticket()
        )

    async def join(self, secret: str, key: Key | None = None, **more: Any) -> Joined:
        """Join as a host would."""
        key = key or Key.generate("U")
        proof = key.sign((secret + key.public).encode())
        values = {"hostname": "web.example", "proof": proof, "origin": HOME} | more
        ask = Join(secret=secret, public_key=key.public, **values)
        return await self.client.ask(JOIN, ask)

    @property
    def local(self) -> str:
        """The token of whoever can read the server's own files."""
        return (self.broker.data_dir / "keys" / "local.token").read_text()

    async def ask(self, call: Any, question: Any, secret: str = "") -> Any:
        """Ask as whoever has *secret*: the server's own console, if none is given."""
        ticket = (await self.exchange(secret or self.local)).ticket
        bus = self.scheduler if call in {SIGN, RECHECK} else self.client
        return await bus.ask(call, question, ticket=ticket, timeout=20)

    async def user(self, name: str, *roles: str, groups: list[str] | None = None) -> str:
        """Let somebody in; returns the secret of a session."""
        ask = CreateUser(name=name, roles=list(roles), groups=groups or [])
        invited = await self.ask(CREATE_USER, ask)
        accept = Accept(secret=invited.secret, password=f"the password of {name}", origin=HOME)
        session: Session = await self.client.ask(ACCEPT, accept, timeout=20)
        return session.secret

    async def role(self, name: str, *grants: Grant, version: int = 0) -> Role:
        """Make or change a role."""
        role: Role = await self.ask(PUT_ROLE, Role(name=name, grants=list(grants), version=version))
        return role

    async def node(self) -> str:
        """Join a new node, and keep its credentials for `Broker.connect`."""
        key = Key.generate("U")
        joined = await self.join((await self.token()).secret, key)
        write_private(self.broker.creds(joined.node), natsjwt.creds_text(joined.jwt, key.seed))
        return joined.node

    async def audit(self, **wanted: Any) -> list[AuditRecord]:
        """Return the newest records."""
        page = await self.client.ask(
            LIST_AUDIT, ListAudit(**wanted), ticket=self.broker.ticket("audit.read")
        )
        return page.items


@pytest.fixture
async def backstage(broker: Broker) -> AsyncIterator[Stage]:
    """Everything but the authority itself."""
    async with broker.connect("gateway") as client, broker.connect("scheduler") as scheduler:
        settings = Settings(data_dir=broker.data_dir, nats=[broker.url])
        yield Stage(broker, client, scheduler, settings, settings.database_of("authority"))


@pytest.fixture
async def stage(backstage: Stage) -> AsyncIterator[Stage]:
    """The authority on SQLite, playing."""
    async with backstage.playing():
        yield backstage


@pytest.fixture(params=["sqlite", "postgresql"])
async def db(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Open an empty database of the authority, of each kind in turn."""
    url = f"sqlite:///{tmp_path}/authority.db"
    if request.param == "postgresql":
        url = f"{request.getfixturevalue('postgres_url')}&schema=t{new_id()}"
    async with open_database(url, migrations="muster.authority") as opened:
        yield opened
