"""The authority: who may do what, and the proof of it.

It alone holds the keys: it logs people in, gives tickets, admits and revokes nodes, signs
commands, and writes all of that into an audit that cannot be changed unnoticed.
"""

from muster.authority import chain, store
from muster.authority.factors import FactorCalls
from muster.authority.joining import Joining
from muster.authority.roles import RoleCalls
from muster.authority.signing import Signing
from muster.authority.users import UserCalls
from muster.contracts.authority import (
    LIST_AUDIT,
    VERIFY_AUDIT,
    AuditPage,
    AuditVerdict,
    ListAudit,
)
from muster.contracts.base import Nothing
from muster.kit.bus import Caller, answers


class Authority(UserCalls, RoleCalls, FactorCalls, Signing, Joining):
    """People, nodes, signatures, audit."""

    async def prepare(self) -> None:
        """Before the first question: the head of the audit, the first administrator."""
        await self.tools.db.write(store.begin)
        await self.ensure_admin()

    @answers(LIST_AUDIT)
    async def audit(self, ask: ListAudit, caller: Caller) -> AuditPage:  # noqa: ARG002
        """Return a page of the audit, newest first."""
        return await self.tools.db.read(lambda conn: chain.page(conn, ask))

    @answers(VERIFY_AUDIT)
    async def verify_audit(self, ask: Nothing, caller: Caller) -> AuditVerdict:  # noqa: ARG002
        """Say whether the audit is whole."""
        return await self.tools.db.read(chain.verify)
