"""The raw protocol: what a connection may say and hear, and a tape of what is said."""

import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from muster.contracts.authority import Sign
from muster.contracts.names import new_node_id
from muster.kit import bus
from muster.kit.bus import Bus
from muster.kit.client import Credentials
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from tests.system.conftest import Server
from tests.trust.conftest import world_of


class Peer:
    """Somebody with credentials, who tries things."""

    def __init__(self, line: Bus) -> None:
        """Note what the broker refuses."""
        self.client = line.client
        self.refused: list[str] = []
        self.client._error_cb = self._note  # noqa: SLF001 (nats-py has no other way after connect)

    async def _note(self, error: Exception) -> None:
        self.refused.append(str(error).lower())

    async def may_say(self, subject: str) -> bool:
        """Publish, and see whether the broker takes it."""
        await self.client.publish(subject, b"{}")
        return await self._taken()

    async def may_hear(self, subject: str) -> bool:
        """Subscribe, and see whether the broker takes it."""
        made = await self.client.subscribe(subject)
        if allowed := await self._taken():
            await made.unsubscribe()
        else:
            self.client._subs.pop(made._id, None)  # noqa: SLF001 (the broker has none)
        return allowed

    async def _taken(self) -> bool:
        for _ in range(2):  # nats-py's first ping overtakes what was written before it
            await self.client.flush(timeout=10)
        found = any("permissions violation" in text for text in self.refused)
        self.refused.clear()
        return not found


@asynccontextmanager
async def recorded(server: Server) -> AsyncGenerator[list[tuple[str, bytes]]]:
    """Tape everything on the bus, with rights that nobody has: the server's own keys made them."""
    world = world_of(server)
    key = Key.generate("U")
    rights = {"subs": -1, "data": -1, "payload": -1, "sub": {"allow": [">"]}}
    token = natsjwt.encode("user", key.public, "tape", rights, world.account)
    tape: list[tuple[str, bytes]] = []

    async def hear(message: bus.Raw) -> None:
        tape.append((message.subject, message.data))

    async with (
        bus.connect(
            f"nats://127.0.0.1:{server.nats_port}",
            name=f"tape-{new_node_id()}",
            creds=lambda: Credentials(token, key),
        ) as line,
        line.hearing(">", hear),
    ):
        yield tape


def order(server: Server, run: str, args: bytes, *names: str) -> Sign:
    """Return what the scheduler asks the authority to sign."""
    return Sign(
        verb="run",
        run=run,
        nodes=[server.node(name)["id"] for name in names],
        digest=hashlib.sha256(args).hexdigest(),
        expires=datetime.now(UTC) + timedelta(minutes=5),
        summary="forged",
    )
