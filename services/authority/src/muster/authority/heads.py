"""Signed heads of the audit: what the chain was at a time, said where it cannot be taken back.

Who can write the database can make another chain. So each hour, and at the start, the head is
signed, appended to a file and published to a stream that denies deletion and purge; a new chain
would contradict what is there.
"""

import asyncio
import logging
import os
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from sqlalchemy import Connection

from muster.authority import chain
from muster.authority.part import Tools
from muster.contracts.authority import AUDIT_HEAD, AuditHead, AuditVerdict
from muster.contracts.errors import MusterError
from muster.kit.files import touch_private
from muster.kit.identity.rotation import Rotation
from muster.kit.identity.seals import is_sealed, seal
from muster.kit.identity.world import World

log = logging.getLogger(__name__)


class Heads:
    """Publishes heads, and compares the chain with those that were published."""

    def __init__(self, tools: Tools) -> None:
        """Sign with the authority's key, publish over its bus."""
        self._tools = tools
        self._last = 0

    @property
    def file(self) -> Path:
        """One signed head in a line; to be copied away as often as one likes."""
        return self._tools.settings.data_dir / "audit-heads.jsonl"

    async def forever(self) -> None:
        """Publish a head now, and after each interval in which something was written."""
        pause = self._tools.settings.head_minutes * 60
        while True:
            try:
                await self.publish()
            except MusterError as error:
                log.warning("the head of the audit is not published: %s", error)
                await asyncio.sleep(min(pause, 10))
            except Exception:  # it must not take the pushing of revocations with it
                log.exception("the head of the audit is not published")
                await asyncio.sleep(min(pause, 60))
            else:
                await asyncio.sleep(pause)

    async def publish(self) -> AuditHead | None:
        """Sign and publish the head; None if it is the same as the last time."""
        now = self._tools.now()
        seq, hash_ = await self._tools.db.read(chain.head)
        if seq == self._last:
            return None
        head = signed(seq, hash_, now, self._tools.world)
        await asyncio.to_thread(_append, self.file, head)
        await self._tools.bus.keep(AUDIT_HEAD, head, str(seq), msg_id=f"{seq}-{hash_[:16]}")
        self._last = seq
        return head

    async def verify(self) -> AuditVerdict:
        """Follow the chain, and hold it against every head in the file and in the stream."""
        published = [*await asyncio.to_thread(_read, self.file), *await self._stream()]
        settings = self._tools.settings
        keys = [*settings.public_keys(), *Rotation(settings.keys_dir).retired()]
        return await self._tools.db.read(lambda conn: _against(conn, published, keys))

    async def _stream(self) -> list[AuditHead]:
        return list(_heads([raw async for raw in self._tools.bus.stored(AUDIT_HEAD)]))


def signed(seq: int, hash_: str, now: datetime, world: World) -> AuditHead:
    """Return a head with its signature."""
    head = AuditHead(seq=seq, hash=hash_, at=now, signature="")
    return head.model_copy(update={"signature": seal(_said(head), world.authority_key)})


def _said(head: AuditHead) -> bytes:
    """Return what is signed."""
    return f"muster audit head|{head.seq}|{head.hash}|{head.at.isoformat()}".encode()


def _against(conn: Connection, heads: list[AuditHead], keys: Sequence[bytes]) -> AuditVerdict:
    verdict = chain.verify(conn)
    latest = max((head.at for head in heads), default=None)
    complaint = next(filter(None, (_complaint(conn, head, keys) for head in heads)), "")
    return verdict.model_copy(
        update={"heads": len(heads), "signed": latest, "complaint": complaint[:200]}
    )


def _complaint(conn: Connection, head: AuditHead, keys: Sequence[bytes]) -> str:
    when = head.at.isoformat(timespec="seconds")
    if not is_sealed(_said(head), head.signature, keys):
        return f"the head of {when} has not been signed by this server"
    found = chain.hash_of(conn, head.seq)
    if found != head.hash:
        return f"record {head.seq} is not what it was at {when}: the chain was written anew"
    return ""


def _append(path: Path, head: AuditHead) -> None:
    touch_private(path)
    with path.open("ab") as file:
        file.write(head.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _read(path: Path) -> list[AuditHead]:
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return list(_heads(lines))


def _heads(lines: Iterable[bytes]) -> Iterable[AuditHead]:
    for line in lines:
        try:
            yield AuditHead.model_validate_json(line)
        except ValidationError:
            log.warning("what stands among the heads of the audit is none")  # a line cut by a crash
