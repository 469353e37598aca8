"""Heartbeats: taken at most once a second from each node, kept in batches."""

import asyncio
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection

from muster.contracts.errors import MusterError, TooLarge
from muster.contracts.nodes import Heartbeat, NodeState
from muster.kit import wire
from muster.kit.bus import Raw
from muster.kit.sql import Database
from muster.kit.text import clean
from muster.registry import store
from muster.registry.entry import Entry
from muster.registry.picture import Picture
from muster.registry.settings import Settings

log = logging.getLogger(__name__)

_FLUSH: Final = 5.0
_SOON: Final = 0.3
_MOST: Final = 20_000
_LARGEST: Final = 256 * 1024
_PRUNE: Final = 300.0
_LEAST: Final = 1.0
"""Seconds between two heartbeats that are taken from one node: a flood is dropped unread."""


class Beats:
    """The latest metrics of every node, and their history."""

    def __init__(self, db: Database, picture: Picture, settings: Settings) -> None:
        """Fill *picture*, keep in *db*."""
        self._db = db
        self._picture = picture
        self._settings = settings
        self._fresh: list[tuple[str, float, bytes]] = []
        self.dirty: set[str] = set()
        """Nodes whose row is to be written."""
        self.soon = asyncio.Event()
        """Set when that is worth an early write."""

    def take(self, message: Raw) -> Entry | None:
        """Take a heartbeat; returns the node that sent it, unless it was dropped."""
        entry = self._picture.by_id.get(message.subject.rsplit(".", 1)[-1])
        now = time.monotonic()
        if entry is None or entry.state is NodeState.REVOKED or now - entry.accepted < _LEAST:
            return None
        entry.accepted = now
        try:
            if len(message.data) > _LARGEST:
                raise TooLarge(f"{len(message.data)} bytes")
            beat = wire.unpack(Heartbeat, message.data)
        except MusterError as error:
            log.warning("%s: heartbeat dropped: %s", entry.id, error)
            return None
        at = datetime.now(UTC)
        entry.seen = entry.metrics_at = at
        entry.skew = round((beat.at - at).total_seconds(), 3)
        entry.version, entry.trouble = clean(beat.version), clean(beat.trouble)[:1000]
        entry.metrics = beat.metrics
        self._picture.changed(entry)
        self._fresh.append((entry.id, at.timestamp(), store.pack_sample(beat.metrics)))
        self.dirty.add(entry.id)
        return entry

    async def keep_forever(self) -> None:
        """Write what is new every few seconds, and drop what is old."""
        pruned = 0.0
        while True:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_FLUSH):
                        await self.soon.wait()
                        await asyncio.sleep(_SOON)  # for all who come or go at the same time
                self.soon.clear()
                await self.flush()
                if time.monotonic() - pruned > _PRUNE:
                    await self._prune()
                    pruned = time.monotonic()
            except MusterError as error:
                log.warning("metrics could not be kept: %s", error)
            except Exception:  # the next ones may be kept: this loop must not end
                log.exception("metrics could not be kept")

    async def _prune(self) -> None:
        oldest = time.time() - self._settings.history_hours * 3600
        await self._db.write(lambda conn: store.prune(conn, oldest))

    async def flush(self) -> None:
        """Write everything that has not been written."""
        fresh, self._fresh = self._fresh, []
        dirty, self.dirty = self.dirty, set()
        entries = [self._picture.by_id[node] for node in dirty]

        def keep(conn: Connection) -> None:
            store.put_samples(conn, fresh)
            store.keep(conn, entries)

        try:
            await self._db.write(keep)
        except MusterError:
            self.dirty |= dirty
            self._fresh = (fresh + self._fresh)[-_MOST:]
            raise
