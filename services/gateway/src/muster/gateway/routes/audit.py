"""The audit: who did what."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from muster.contracts.authority import LIST_AUDIT, VERIFY_AUDIT, ListAudit
from muster.contracts.base import NOTHING
from muster.gateway.gate import Me
from muster.gateway.openapi import relayed

router = APIRouter(tags=["audit"])


@router.get("/audit", summary="List the audit", **relayed(LIST_AUDIT, "listAudit", basic=True))
async def list_audit(ask: Annotated[ListAudit, Query()], me: Me) -> Response:
    """Answer a page of the audit, newest first."""
    return await me.relay(LIST_AUDIT, ask)


@router.get(
    "/audit/verify", summary="Verify the audit", **relayed(VERIFY_AUDIT, "verifyAudit", basic=True)
)
async def verify_audit(me: Me) -> Response:
    """Answer whether the chain of records is whole."""
    return await me.relay(VERIFY_AUDIT, NOTHING, timeout=60)
