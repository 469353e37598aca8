"""An external system: the raw client of NATS with a service account, and nothing of ours."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.api import PubAck

from muster.contracts.accounts import AccountCredentials
from muster.kit import bus
from muster.kit.client import Credentials
from muster.kit.identity import natsjwt
from muster.kit.identity.nkeys import Key
from muster.kit.testing import Broker


@dataclass
class External:
    """A connection that tries things, and notes what the broker refuses."""

    name: str
    credentials: AccountCredentials
    key: Key
    client: Client = field(default_factory=Client)
    errors: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    times: int = 0
    """How often it was seen to have connected anew."""

    async def publish(self, topic: str, body: bytes = b"x", **headers: str) -> PubAck:
        """Tell something of its own, and wait until it is stored."""
        js = self.client.jetstream(timeout=5)
        return await js.publish(f"muster.in.{self.name}.{topic}", body, headers=headers or None)

    async def ticket(self) -> str:
        """Get a ticket."""
        answer = await self.client.request(self.credentials.ticket, b"{}", timeout=5)
        assert not (answer.headers or {}).get("Nats-Service-Error-Code"), answer.headers
        return str(json.loads(answer.data)["ticket"])

    async def ask(self, subject: str, ticket: str, **question: Any) -> tuple[str, Any]:
        """Ask a service; return the code of the error, or the answer."""
        body = json.dumps(question).encode()
        answer = await self.client.request(
            subject, body, timeout=5, headers={"Muster-Ticket": ticket}
        )
        code = (answer.headers or {}).get("Nats-Service-Error-Code", "")
        return code, None if code else json.loads(answer.data)

    async def anew(self) -> None:
        """Wait until it has connected anew: so the broker lets a change of rights take effect."""
        async with asyncio.timeout(10):
            while self.client.stats["reconnects"] <= self.times:
                await asyncio.sleep(0.01)
        self.times = self.client.stats["reconnects"]
        self.errors.clear()

    async def may_publish(self, subject: str, reply: str = "") -> bool:
        """Publish, and see whether the broker takes it."""
        await self.client.publish(subject, b"{}", reply=reply)
        return await self._taken()

    async def may_subscribe(self, subject: str) -> bool:
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
        found = any("permissions violation" in text for text in self.errors)
        self.errors.clear()
        return not found


@asynccontextmanager
async def connected(
    credentials: AccountCredentials, key: Key, url: str = "", **options: Any
) -> AsyncGenerator[External]:
    """Connect with the credentials of a service account; *options* are those of the client."""
    made = External(credentials.name, credentials, key)

    async def note(error: Exception) -> None:
        made.errors.append(str(error).lower())

    async def closed() -> None:
        made.closed.set()

    made.client = await nats.connect(
        [url] if url else credentials.urls,
        user_jwt_cb=lambda: bytearray(made.credentials.jwt.encode()),
        signature_cb=lambda nonce: base64.b64encode(made.key.sign(nonce.encode())),
        inbox_prefix=credentials.inbox,
        error_cb=note,
        closed_cb=closed,
        reconnect_time_wait=0.05,
        **options,
    )
    try:
        yield made
    finally:
        await made.client.close()


async def told(broker: Broker) -> list[tuple[str, bytes]]:
    """Return what the stream holds, with rights that nobody has: the server's keys made them."""
    key = Key.generate("U")
    rights = {"subs": -1, "data": -1, "payload": -1}
    token = natsjwt.encode("user", key.public, "everything", rights, broker.world.account)
    async with bus.connect(
        broker.url, name="everything", creds=lambda: Credentials(token, key)
    ) as line:
        js = line.client.jetstream(timeout=5)
        state = (await js.stream_info("IN")).state
        found = [
            await js.get_msg("IN", seq=seq)
            for seq in range(state.first_seq, state.last_seq + 1)
            if state.messages
        ]
        return [(str(one.subject), one.data or b"") for one in found]
