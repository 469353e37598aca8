"""The authority: who may do what, and the proof of it.

It alone holds the keys: it logs people in, gives tickets, admits and revokes nodes, signs
commands, and writes all of that into an audit that cannot be changed unnoticed.
"""

import asyncio

from muster.authority import chain, store
from muster.authority.accounts import AccountCalls
from muster.authority.certifying import Certifying
from muster.authority.comparing import Comparing
from muster.authority.devices import DeviceCalls
from muster.authority.heads import Heads
from muster.authority.oidc import OidcCalls
from muster.authority.part import SERVER, Tools
from muster.authority.roles import RoleCalls
from muster.authority.signing import Signing
from muster.contracts.authority import (
    ALERT,
    LIST_AUDIT,
    REFUSED,
    VERIFY_AUDIT,
    Alert,
    AuditPage,
    AuditVerdict,
    ListAudit,
    Refusal,
)
from muster.contracts.base import NOTHING, Nothing
from muster.kit.bus import Caller, answers
from muster.kit.durable import AUDIT, IN, ensure_streams


class Authority(OidcCalls, RoleCalls, DeviceCalls, AccountCalls, Comparing, Signing, Certifying):
    """People, nodes, signatures, audit."""

    def __init__(self, tools: Tools) -> None:
        """Work with *tools*."""
        super().__init__(tools)
        self.heads = Heads(tools)

    async def prepare(self) -> None:
        """Before the first question: the head of the audit, the first administrator."""
        await ensure_streams(self.tools.bus.client, (AUDIT, IN))
        await self.tools.db.write(store.begin)
        await self.ensure_admin()
        await self.forget_other_providers()

    async def forever(self) -> None:
        """Keep the broker in line with the revocations, and the world with the audit."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.push_forever())
            group.create_task(self.heads.forever())

    @answers(LIST_AUDIT)
    async def audit(self, ask: ListAudit, caller: Caller) -> AuditPage:  # noqa: ARG002
        """Return a page of the audit, newest first."""
        return await self.tools.db.read(lambda conn: chain.page(conn, ask))

    @answers(VERIFY_AUDIT)
    async def verify_audit(self, ask: Nothing, caller: Caller) -> AuditVerdict:  # noqa: ARG002
        """Say whether the audit is whole, and the one that was signed."""
        return await self.heads.verify()

    @answers(ALERT)
    async def alert(self, ask: Alert, caller: Caller) -> Nothing:  # noqa: ARG002
        """Write down what a service has noticed about a node."""
        now, action = self.tools.now(), f"node.{ask.what}"
        await self.tools.db.write(
            lambda conn: chain.append(
                conn, SERVER, action, now=now, nodes=[ask.node], result="alert", detail=ask.detail
            )
        )
        return NOTHING

    @answers(REFUSED)
    async def refused(self, ask: Refusal, caller: Caller) -> Nothing:  # noqa: ARG002
        """Write down whom a service has refused."""
        now = self.tools.now()
        await self.tools.db.write(
            lambda conn: chain.append(
                conn, ask.who, ask.action, now=now, result="denied",
                detail=f"{ask.service}: {ask.detail}", address=ask.address,
            )
        )  # fmt: skip
        return NOTHING
