"""What the broker says of connections: its events as they happen, its whole list to be sure."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from muster.contracts.errors import MusterError, Unavailable
from muster.kit.bus import Bus, Raw
from muster.kit.client import Credentials
from muster.kit.identity import natsjwt
from muster.registry.presence import Change, Connection, Presence

log = logging.getLogger(__name__)

_PAGE: Final = 256
_OVERLAP: Final = 32
_EVERY: Final = 60.0


class Watch:
    """Keeps presence in line with the broker's connections."""

    def __init__(
        self,
        system: Bus,
        account: str,
        presence: Presence,
        tell: Callable[[list[Change]], None],
        settling: float,
    ) -> None:
        """Listen with the connection *system* to what happens in *account*."""
        self._system = system
        self._account = account
        self._presence = presence
        self._tell = tell
        self._settling = settling
        self._again = asyncio.Event()
        system.on_connect(self._reconnected)

    async def connected(self, message: Raw) -> None:
        """Take that somebody has connected."""
        key, connection, _ = _read(message.data)
        if key:
            self._tell(self._presence.connected(key, connection))

    async def disconnected(self, message: Raw) -> None:
        """Take that somebody has gone."""
        key, connection, reason = _read(message.data)
        if key:
            self._tell(self._presence.disconnected(key, connection, reason))

    @asynccontextmanager
    async def hearing(self) -> AsyncGenerator[None]:
        """Hear who comes and goes, beside the block."""
        base = f"$SYS.ACCOUNT.{self._account}"
        async with (
            self._system.hearing(f"{base}.CONNECT", self.connected),
            self._system.hearing(f"{base}.DISCONNECT", self.disconnected),
        ):
            yield

    async def _reconnected(self) -> None:
        self._again.set()

    async def reconcile_forever(self) -> None:
        """Compare with the broker's list each minute, and soon after it was away."""
        while True:
            try:
                async with asyncio.timeout(_EVERY):
                    await self._again.wait()
                self._again.clear()
                await asyncio.sleep(self._settling)  # the nodes must come back first
            except TimeoutError:
                pass
            try:
                await self.reconcile()
            except MusterError as error:
                log.warning("the broker's connections are not known: %s", error)
                self._again.set()
                await asyncio.sleep(1)

    async def reconcile(self) -> None:
        """Compare with the broker's whole list of connections."""
        since = self._presence.now()
        live = await self._list()
        self._tell(self._presence.reconcile(live, since))

    async def _list(self) -> list[tuple[str, Connection]]:
        """Read the list, which is ordered by number, in pages that overlap.

        When connections close in between, those behind them move up. So a page that does not
        begin within the one before it has left some out, and is read again further up.
        """
        live: dict[Connection, str] = {}
        offset, last = 0, 0
        while True:
            server, found = await self._page(offset)
            if offset and (not found or int(found[0]["cid"]) > last):
                offset = max(0, offset - _PAGE)
                continue
            live |= {(server, int(one["cid"])): _key(one) for one in found}
            if len(found) < _PAGE:
                return [(key, connection) for connection, key in live.items() if key]
            last = int(found[-1]["cid"])
            offset += _PAGE - _OVERLAP

    async def _page(self, offset: int) -> tuple[str, list[dict[str, Any]]]:
        """Return the server's id and a page of its connections."""
        ask = {"auth": True, "sort": "cid", "offset": offset, "limit": _PAGE, "acc": self._account}
        subject = f"$SYS.REQ.ACCOUNT.{self._account}.CONNZ"
        answer = json.loads(await self._system.request(subject, json.dumps(ask).encode()))
        if "data" not in answer:
            raise Unavailable(f"the broker does not list its connections: {answer.get('error')}")
        return str(answer["server"]["id"]), answer["data"].get("connections") or []


def account_of(creds: Path) -> str:
    """Return the public key of the account that a service's credentials belong to."""
    return str(natsjwt.claims(Credentials.from_file(creds).jwt, check=False)["iss"])


def _key(one: dict[str, Any]) -> str:
    """Return the public key of a connection in the broker's list."""
    return str(one.get("nkey") or one.get("authorized_user") or "")


def _read(data: bytes) -> tuple[str, Connection, str]:
    """Return public key, connection and reason of an event."""
    event = json.loads(data)
    client = event["client"]
    connection = (str(event["server"]["id"]), int(client["id"]))
    return str(client.get("user") or ""), connection, str(event.get("reason") or "")
