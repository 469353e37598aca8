"""Nodes' credentials: join tokens, joining, renewal, revocation."""

import logging
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from muster.authority import chain, store
from muster.authority.admitting import Newcomer, enter, shut_out
from muster.authority.certificates import NOTICES, CaCalls
from muster.authority.part import SERVER, address_of, digest, new_secret
from muster.authority.pushing import Pushing
from muster.contracts.authority import (
    APPROVE_NODE,
    CREATE_JOIN_TOKEN,
    FLOODS,
    JOIN,
    LIST_JOIN_TOKENS,
    RENEW,
    REVOKE_JOIN_TOKEN,
    REVOKE_NODE,
    ApproveNode,
    CreateJoinToken,
    Flood,
    Join,
    Joined,
    JoinTokenCreated,
    JoinTokens,
    Renewed,
    RenewJwt,
    RevokeJoinToken,
    RevokeNode,
)
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Denied, Expired, MusterError, NotFound
from muster.contracts.names import new_id
from muster.contracts.nodes import (
    NODE_APPROVED,
    NodeApproved,
)
from muster.kit import outbox
from muster.kit.bus import Caller, answers
from muster.kit.identity import natsjwt, nkeys
from muster.kit.identity.authorities import newest
from muster.kit.identity.rotation import Rotation

log = logging.getLogger(__name__)

_AGAIN: Final = "make another with: muster node token"


class Joining(CaCalls, Pushing):
    """Who may be a node."""

    @answers(CREATE_JOIN_TOKEN)
    async def create_token(self, ask: CreateJoinToken, caller: Caller) -> JoinTokenCreated:
        """Make a token with which one host may join, once."""
        now = self.tools.now()
        secret, expires = new_secret("mjoin"), now + timedelta(seconds=ask.ttl)
        row = {
            "id": new_id(now.timestamp()),
            "hash": digest(secret),
            "created": now,
            "created_by": caller.name,
            "expires": expires,
            "name": ask.name,
            "groups": ask.groups,
            "tags": ask.tags,
            "note": ask.note,
            "approve": ask.approve or self.tools.settings.approve_nodes,
        }

        def make(conn: Connection) -> None:
            store.add_token(conn, row)
            detail = f"{row['id']} until {expires.isoformat(timespec='seconds')}"
            chain.append(
                conn,
                caller.name,
                "join_token.create",
                now=now,
                detail=detail,
                address=address_of(caller),
            )

        await self.tools.db.write(make)
        return JoinTokenCreated(id=str(row["id"]), secret=secret, expires=expires)

    @answers(LIST_JOIN_TOKENS)
    async def tokens(self, ask: Nothing, caller: Caller) -> JoinTokens:  # noqa: ARG002
        """List the newest join tokens."""
        return JoinTokens(items=await self.tools.db.read(store.tokens))

    @answers(REVOKE_JOIN_TOKEN)
    async def revoke_token(self, ask: RevokeJoinToken, caller: Caller) -> Nothing:
        """Make a token worthless."""
        now = self.tools.now()

        def remove(conn: Connection) -> None:
            if not store.drop_token(conn, ask.id):
                raise NotFound(f"no join token {ask.id}")
            chain.append(
                conn,
                caller.name,
                "join_token.revoke",
                now=now,
                detail=ask.id,
                address=address_of(caller),
            )

        await self.tools.db.write(remove)
        return NOTHING

    @answers(JOIN)
    async def join(self, ask: Join, caller: Caller) -> Joined:  # noqa: ARG002
        """Admit a host: burn its token and create the node in one transaction."""
        if not nkeys.verify(ask.public_key, (ask.secret + ask.public_key).encode(), ask.proof):
            raise Denied("the proof is not of the key that wants to join")
        now = self.tools.now()
        try:
            node, pending = await self.tools.db.write(lambda conn: self._admit(conn, ask, now))
            if pending:
                await self.push()  # before it has credentials that the broker would take
        except MusterError as error:
            await self.not_admitted(ask.hostname, ask.origin.address, error, now)
            raise
        return await self.welcome(node, ask.public_key, now, pending=pending)

    async def welcome(self, node: str, public_key: str, now: datetime, *, pending: bool) -> Joined:
        """Return everything that a new node needs."""
        return Joined(
            node=node,
            jwt=self._mint(node, public_key, now),
            authority_keys=self._public_keys(),
            epoch=await self._epoch(),
            urls=self.tools.settings.node_urls or self.tools.settings.nats,
            ca=self.ca_bundle(),
            pending=pending,
        )

    def _admit(self, conn: Connection, ask: Join, now: datetime) -> tuple[str, bool]:
        token = store.token(conn, digest(ask.secret))
        if token is None:
            raise NotFound(f"this join token is not known: {_AGAIN}")
        if token.used is not None:
            raise Conflict(f"this join token has been used: {_AGAIN}")
        if token.expires <= now:
            raise Expired(f"this join token has expired: {_AGAIN}")
        one = Newcomer(
            public_key=ask.public_key,
            hostname=ask.hostname,
            pending=token.approve,
            by=f"@token:{token.id}",
            detail=ask.hostname,
            address=ask.origin.address,
            name=token.name,
            groups=token.groups,
            tags=token.tags,
            ca=newest(self.ca_bundle()),
        )
        node = enter(conn, one, self.until(now), now)
        store.burn(conn, token.id, node, now)
        return node, token.approve

    async def not_admitted(
        self, hostname: str, address: str, error: MusterError, now: datetime
    ) -> None:
        """Write down who was not let in."""
        detail = f"{hostname}: {error}"
        await self.tools.db.write(
            lambda conn: chain.append(
                conn, "@join", "node.join", now=now, result=error.code, detail=detail,
                address=address,
            )
        )  # fmt: skip

    @answers(RENEW)
    async def renew(self, ask: RenewJwt, caller: Caller) -> Renewed:
        """Give a node a fresh JWT for the key that it has."""
        node, now = str(caller.node), self.tools.now()

        def extend(conn: Connection) -> Any:
            row = store.node(conn, node)
            if row is None or row.revoked is not None:
                raise Denied("this node has been revoked")
            store.extend(conn, node, now, self.until(now), ask.ca)
            return row

        row = await self.tools.db.write(extend)
        return Renewed(
            jwt=self._mint(node, row.public_key, now),
            authority_keys=self._public_keys(),
            epoch=await self._epoch(),
            notices=Rotation(self.tools.settings.keys_dir).notices()[-NOTICES:],
            ca=self.ca_notice(),
            server=_short(self.tools.settings.public_url),
        )

    @answers(APPROVE_NODE)
    async def approve_node(self, ask: ApproveNode, caller: Caller) -> Nothing:
        """Let a pending node in: from now on the broker takes its credentials."""
        now = self.tools.now()

        def let_in(conn: Connection) -> None:
            row = store.node(conn, ask.node)
            if row is None or row.revoked is not None:
                raise NotFound(f"no node {ask.node}")
            if not row.pending:
                return
            store.approve(conn, ask.node)
            fact = NodeApproved(id=ask.node, by=caller.name, at=now)
            outbox.put(conn, NODE_APPROVED, fact, ask.node)
            chain.append(
                conn, caller.name, "node.approve", now=now, nodes=[ask.node],
                detail=row.hostname, address=address_of(caller),
            )  # fmt: skip
            for other in store.nodes_of(conn, row.certificate):
                if other.id != ask.node and other.revoked is None:
                    reason = f"{ask.node} has joined with its certificate"
                    address = address_of(caller)
                    shut_out(conn, other.id, caller.name, reason=reason, now=now, address=address)

        await self.tools.db.write(let_in)
        await self.push()
        return NOTHING

    @answers(REVOKE_NODE)
    async def revoke(self, ask: RevokeNode, caller: Caller) -> Nothing:
        """Shut a node out for good; its live connection is cut before this answers."""
        now = self.tools.now()

        def revoke(conn: Connection) -> None:
            row = store.node(conn, ask.node)
            if row is None:
                raise NotFound(f"no node {ask.node}")
            if row.revoked is None:
                address = address_of(caller)
                shut_out(conn, ask.node, caller.name, reason=ask.reason, now=now, address=address)

        await self.tools.db.write(revoke)
        await self.push()
        return NOTHING

    @answers(FLOODS)
    async def floods(self, ask: Flood, caller: Caller) -> Nothing:  # noqa: ARG002
        """Shut a node out for a while that says far more to a service than an honest one does."""
        now = self.tools.now()
        row = await self.tools.db.read(lambda conn: store.node(conn, ask.node))
        if row is None or row.revoked is not None:
            return NOTHING
        begun = self.suspensions.begin(ask.node, row.public_key, now)
        if begun is None:
            return NOTHING
        with suppress(MusterError):  # it is tried again
            await self.push()  # first: everybody waits behind the flood
        self.push_soon()
        detail = f"floods the {ask.service}; until {begun.until.isoformat(timespec='seconds')}"
        await self.tools.db.write(
            lambda conn: chain.append(
                conn, SERVER, "node.suspend", now=now, nodes=[ask.node], detail=detail
            )
        )
        log.warning("%s is shut out: it %s", ask.node, detail)
        return NOTHING

    def until(self, now: datetime) -> datetime:
        """Return when the credentials end that are given now."""
        return now + timedelta(days=self.tools.settings.node_days)

    def _mint(self, node: str, public: str, now: datetime) -> str:
        return self.tools.world.mint_node(node, public, self.until(now))

    def _public_keys(self) -> list[str]:
        return [natsjwt.text64(key) for key in self.tools.settings.public_keys()]

    async def _epoch(self) -> int:
        return await self.tools.db.read(store.epoch)


def _short(url: str) -> str:
    """Return *url* if it fits; half of one would lead nowhere."""
    return url if len(url) <= 200 else ""  # noqa: PLR2004
