"""Joining by a certificate of the operator's own CA, without a token.

The gateway is not trusted with it, so TLS proves nothing here: the host signs, with the key of its
certificate, a challenge of ours together with the key that it has made for itself as a node.

One certificate is good for one living node. The first time it comes in as the settings say.
After that it comes in only with somebody's approval: in the place of a living node if the host asks
for that (``--force``), and that node is revoked in the moment of the approval; or after
a node that was revoked, perhaps because the certificate was stolen.
"""

import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import store
from muster.authority.admitting import Newcomer, enter
from muster.authority.joining import Joining
from muster.authority.part import Tools
from muster.contracts.authority import Joined
from muster.contracts.base import Nothing
from muster.contracts.certificates import (
    JOIN_BY_CERTIFICATE,
    JOIN_CHALLENGE,
    JoinByCertificate,
    JoinChallenge,
)
from muster.contracts.errors import Conflict, Denied, Expired, MusterError, NotFound, Unavailable
from muster.kit.bus import Caller, answers
from muster.kit.identity import nkeys
from muster.kit.identity.authorities import newest
from muster.kit.identity.seals import is_sealed, seal
from muster.kit.identity.vetting import Vetted, Vetting, join_text, proves

log = logging.getLogger(__name__)

_LIFE: Final = timedelta(minutes=2)
_AGAIN: Final = "ask for another one and try again"


class Certifying(Joining):
    """Hosts that have a certificate."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        super().__init__(tools)
        self._used: dict[str, datetime] = {}
        """Challenges that somebody has joined with, until they expire."""

    @answers(JOIN_CHALLENGE)
    async def challenge(self, ask: Nothing, caller: Caller) -> JoinChallenge:  # noqa: ARG002
        """Return what a host signs; nothing is kept of it, so that nobody can fill us with them."""
        self._enabled()
        expires = self.tools.now() + _LIFE
        body = f"{secrets.token_urlsafe(16)}.{int(expires.timestamp())}"
        return JoinChallenge(
            nonce=f"{body}.{seal(_said(body), self.tools.world.authority_key)}", expires=expires
        )

    @answers(JOIN_BY_CERTIFICATE)
    async def join_by_certificate(self, ask: JoinByCertificate, caller: Caller) -> Joined:  # noqa: ARG002
        """Admit a host whose certificate is good, and who has the key of it."""
        now = self.tools.now()
        try:
            vetted = self._vetted(ask, now)
            node, pending = await self.tools.db.write(
                lambda conn: self._admit_one(conn, ask, vetted, now)
            )
            if pending:
                await self.push()  # before it has credentials that the broker would take
        except MusterError as error:
            await self.not_admitted(ask.hostname, ask.origin.address, error, now)
            raise
        return await self.welcome(node, ask.public_key, now, pending=pending)

    def _vetted(self, ask: JoinByCertificate, now: datetime) -> Vetted:
        """Return who asks, or raise; a challenge that was good is used up by this."""
        self._enabled()
        self._check(ask.nonce, now)
        if not nkeys.verify(ask.public_key, (ask.nonce + ask.public_key).encode(), ask.proof):
            raise Denied("the proof is not of the key that wants to join")
        vetted = self._vetting().vet(ask.chain, now)
        text = join_text(ask.nonce, ask.public_key, ask.hostname, force=ask.force)
        if not proves(ask.chain, text, ask.signature):
            raise Denied("the signature is not of the certificate's key over this request")
        self._used[ask.nonce] = now + _LIFE
        return vetted

    def _enabled(self) -> Path:
        """Return the file of the CAs that are trusted, or raise `NotFound`."""
        if (found := self.tools.settings.join_ca) is None:
            raise NotFound("no host joins this server by a certificate: [authority] join_ca")
        return found

    def _vetting(self) -> Vetting:
        settings = self.tools.settings
        lists = _read(settings.join_crl) if settings.join_crl else None
        try:
            return Vetting.of(_read(self._enabled()), lists, settings.join_names)
        except ValueError as error:
            log.error("no host can join by a certificate: %s", error)  # noqa: TRY400
            raise Unavailable("the server cannot read whom it trusts: see its log") from error

    def _check(self, nonce: str, now: datetime) -> None:
        """Raise unless *nonce* is a challenge of ours that is fresh and was not used."""
        body, _, sealed = nonce.rpartition(".")
        if not is_sealed(_said(body), sealed, self.tools.settings.public_keys()):
            raise Denied(f"the challenge is not one of this server: {_AGAIN}")
        if int(body.rpartition(".")[2]) <= now.timestamp():
            raise Expired(f"the challenge has expired: {_AGAIN}")
        self._used = {one: until for one, until in self._used.items() if until > now}
        if nonce in self._used:
            raise Conflict(f"the challenge has been used: {_AGAIN}")

    def _admit_one(
        self, conn: Connection, ask: JoinByCertificate, vetted: Vetted, now: datetime
    ) -> tuple[str, bool]:
        settings = self.tools.settings
        before = store.nodes_of(conn, vetted.fingerprint)
        _refuse_second(before, force=ask.force)
        pending = settings.join_approve or settings.approve_nodes or bool(before)
        one = Newcomer(
            public_key=ask.public_key,
            hostname=vetted.name,  # what the CA says, not what the host says
            pending=pending,
            by=f"@certificate:{vetted.fingerprint[:16]}",
            detail=f"{vetted.name}: {vetted.subject}, serial {vetted.serial}",
            address=ask.origin.address,
            groups=settings.join_groups,
            tags=dict(tag.split("=", 1) for tag in settings.join_tags),
            certificate=vetted.fingerprint,
            ca=newest(self.ca_bundle()),
        )
        return enter(conn, one, self.until(now), now), pending


def _refuse_second(before: Sequence[Any], *, force: bool) -> None:
    """Raise if the certificate has a living node that is not to be replaced, or is being so."""
    living = [row for row in before if row.revoked is None]
    if waiting := [row.id for row in living if row.pending]:
        raise Conflict(
            f"{waiting[0]} waits for approval with this certificate already: "
            "an administrator approves or revokes it first"
        )
    if living and not force:
        raise Conflict(
            f"{living[0].id} has joined with this certificate: revoke it, or join with --force, "
            "and it is replaced when an administrator approves"
        )


def _said(body: str) -> bytes:
    return f"muster join challenge|{body}".encode()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        log.error("no host can join by a certificate: %s", error)  # noqa: TRY400
        raise Unavailable("the server cannot read whom it trusts: see its log") from error
