"""Puts the gateway together: parts, routes, errors, headers."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.types import ASGIApp

from muster.gateway import (
    __version__,
    device_pages,
    factor_pages,
    login_pages,
    oidc_pages,
    openapi,
    pages,
    passkey_pages,
    problems,
    proxy,
)
from muster.gateway.cookies import Cookies
from muster.gateway.edge import Edge
from muster.gateway.gate import Gate
from muster.gateway.limiter import Limiter
from muster.gateway.live import Hub
from muster.gateway.people import People
from muster.gateway.routes import (
    accounts,
    approvals,
    audit,
    devices,
    events,
    health,
    joining,
    me,
    nodes,
    roles,
    runs,
    session,
    users,
)
from muster.gateway.settings import Settings
from muster.gateway.upstream import Upstream, upstream_at
from muster.kit.bus import Bus
from muster.kit.service import keeping_up

API = "/api/v1"


@asynccontextmanager
async def gateway(bus: Bus, settings: Settings) -> AsyncGenerator[ASGIApp]:
    """Yield the application, with everything open that it needs."""
    async with keeping_up(bus), upstream_at(settings.dashboard) as dashboard:
        yield create_app(bus, settings, dashboard)


def create_app(bus: Bus, settings: Settings, dashboard: Upstream | None = None) -> ASGIApp:
    """Return the application that asks over *bus*."""
    app = FastAPI(
        title="Muster",
        version=__version__,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    cookies, logins = Cookies(secure=settings.secure), Limiter(settings.logins_per_minute)
    app.state.gate = Gate(
        bus=bus,
        settings=settings,
        people=People(bus, cookies, logins),
        cookies=cookies,
        hub=Hub(bus),
        dashboard=dashboard,
        joins=Limiter(settings.joins_per_minute),
        challenges=Limiter(settings.joins_per_minute),
        logins=logins,
    )
    for part in (
        session,
        devices,
        me,
        users,
        roles,
        accounts,
        nodes,
        runs,
        approvals,
        joining,
        audit,
        events,
    ):
        app.include_router(part.router, prefix=API)
    for part in (
        health,
        pages,
        login_pages,
        oidc_pages,
        passkey_pages,
        factor_pages,
        device_pages,
        proxy,
    ):
        app.include_router(part.router)
    problems.install(app)
    openapi.install(app)
    pages.install(app)
    return Edge(app, max_body=settings.max_body, access_log=settings.access_log)
