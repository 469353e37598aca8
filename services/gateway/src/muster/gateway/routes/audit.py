"""The audit: who did what."""

from typing import Annotated

from fastapi import APIRouter, Query

from muster.contracts.authority import LIST_AUDIT, VERIFY_AUDIT, AuditPage, AuditVerdict, ListAudit
from muster.contracts.base import NOTHING
from muster.gateway.gate import Me
from muster.gateway.openapi import declared

router = APIRouter(tags=["audit"])


@router.get("/audit", summary="List the audit", **declared(LIST_AUDIT, "listAudit"))
async def list_audit(ask: Annotated[ListAudit, Query()], me: Me) -> AuditPage:
    """Answer a page of the audit, newest first."""
    return await me.ask(LIST_AUDIT, ask)


@router.get("/audit/verify", summary="Verify the audit", **declared(VERIFY_AUDIT, "verifyAudit"))
async def verify_audit(me: Me) -> AuditVerdict:
    """Answer whether the chain of records is whole."""
    return await me.ask(VERIFY_AUDIT, NOTHING, timeout=60)
