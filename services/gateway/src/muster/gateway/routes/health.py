"""Whether the server works: for people, load balancers and Prometheus."""

import asyncio
import ipaddress
import logging
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from muster.contracts.authority import LIST_AUDIT
from muster.contracts.base import Call, Message
from muster.contracts.errors import Denied, MusterError, Unauthenticated, Unavailable
from muster.contracts.nodes import LIST_NODES
from muster.contracts.runs import LIST_RUNS
from muster.gateway import __version__
from muster.gateway.gate import Here, gate_of
from muster.gateway.openapi import PUBLIC, declared
from muster.gateway.origins import address_of
from muster.kit.bus import Bus

log = logging.getLogger(__name__)
router = APIRouter(tags=["health"])

METRICS: Final = "metrics.read"
_ASKED: Final[tuple[Call[Any, Any], ...]] = (LIST_AUDIT, LIST_NODES, LIST_RUNS)
"""Asked without a ticket, a service that lives refuses: no right is needed to learn that."""

_FORWARDED: Final = ("forwarded", "x-forwarded-for", "x-real-ip")


class Health(Message):
    """Whether the server works, and which of its parts do."""

    status: Literal["ok", "degraded"]
    version: str
    bus: bool
    services: dict[str, bool]


@router.get("/health", summary="How the server is", **declared(PUBLIC, "getHealth"))
async def get_health(gate: Here) -> Health:
    """Answer whether the bus is connected and which services answer."""
    connected = gate.bus.connected
    answers = await asyncio.gather(*(_lives(gate.bus, call) for call in _ASKED))
    services = {call.service: lives for call, lives in zip(_ASKED, answers, strict=True)}
    well = connected and all(answers)
    return Health(
        status="ok" if well else "degraded", version=__version__, bus=connected, services=services
    )


@router.get("/healthz", summary="The process lives", **declared(PUBLIC, "getLiveness"))
async def healthz() -> dict[str, str]:
    """Answer at all."""
    return {"status": "ok"}


@router.get("/readyz", summary="Requests can be answered", **declared(PUBLIC, "getReadiness"))
async def readyz(gate: Here) -> dict[str, str]:
    """Answer 503 while there is no connection to the bus."""
    if not gate.bus.connected:
        raise Unavailable("there is no connection to the bus")
    return {"status": "ok"}


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=PlainTextResponse,
    **declared(METRICS, "getFigures"),
)
async def metrics(request: Request) -> Response:
    """Answer the figures of this process; from this machine no login is needed."""
    if not _is_local(request):
        visitor = await gate_of(request).people.visitor(request)
        if not visitor.may(METRICS):
            raise Denied(f"{visitor.person.name} may not {METRICS}")
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _is_local(request: Request) -> bool:
    """Whether a program on this machine asks, and does not ask for somebody else."""
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(address_of(request)).is_loopback
    except ValueError:
        return False


async def _lives(bus: Bus, call: Call[Any, Any]) -> bool:
    try:
        await bus.request(call.subject, b"{}", timeout=1, patience=0)
    except Unauthenticated:
        return True
    except MusterError as error:
        log.debug("%s is not well: %s", call.service, error)
        return False
    return True
