"""The ASGI application: Streamlit behind our guard, with settings that nobody can loosen."""

from pathlib import Path
from typing import Any, Final

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from streamlit import config

from muster.dashboard.guard import Guard

OPTIONS: Final[dict[str, Any]] = {
    "browser.gatherUsageStats": False,
    "client.showErrorDetails": "none",
    "client.toolbarMode": "minimal",
    "server.address": "127.0.0.1",
    "server.baseUrlPath": "dashboard",
    "server.enableAgentApi": False,
    "server.enableStaticServing": False,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxUploadSize": 1,
    "server.runOnSave": False,
    "theme.primaryColor": "#2a7a63",
    "theme.base": None,
}
"""Telemetry off, error details off, no agent interface, nothing to upload."""


async def healthz(_request: Request) -> PlainTextResponse:
    """Say that the process lives."""
    return PlainTextResponse("ok")


def create() -> st.App:
    """Return the application."""
    for name, value in OPTIONS.items():
        if value is not None:
            config.set_option(name, value)
    return st.App(
        Path(__file__).with_name("script.py"),
        routes=[Route("/healthz", healthz)],
        middleware=[Middleware(Guard)],
    )
