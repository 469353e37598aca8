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
    "client.allowedOrigins": [],
    "client.disableDataExport": True,
    "client.showErrorDetails": "none",
    "client.showErrorLinks": False,
    "client.toolbarMode": "minimal",
    "runner.magicEnabled": False,
    "server.address": "127.0.0.1",
    "server.baseUrlPath": "dashboard",
    "server.enableAgentApi": False,
    "server.enableCORS": True,
    "server.enableStaticServing": False,
    "server.enableXsrfProtection": True,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.maxMessageSize": 50,
    "server.maxUploadSize": 1,
    "server.maxWidgetStateSize": 1,
    "server.runOnSave": False,
    "server.showEmailPrompt": False,
}
"""Telemetry off, error details off, no agent interface, nothing to upload, and no CSV of tables
that hold what nodes say: a spreadsheet would take a name for a formula."""

_FONT: Final = (
    "system-ui, -apple-system, 'Segoe UI', 'PingFang SC', 'Microsoft YaHei', "
    "'Noto Sans CJK SC', sans-serif"
)
_MONO: Final = "ui-monospace, 'Cascadia Mono', Menlo, Consolas, 'Noto Sans Mono CJK SC', monospace"
LOOK: Final[dict[str, Any]] = {
    "theme.font": _FONT,
    "theme.headingFont": _FONT,
    "theme.codeFont": _MONO,
    "theme.baseFontSize": 14,
    "theme.codeFontSize": "0.85rem",
    "theme.baseRadius": "0.5rem",
    "theme.paddingTop": "1rem",
    "theme.paddingBottom": "3rem",
    "theme.showWidgetBorder": True,
    "theme.headingFontSizes": ["1.6rem", "1.35rem", "1.15rem", "1.05rem", "1rem", "0.9rem"],
    "theme.metricValueFontSize": "1.5rem",
    "theme.light.primaryColor": "#24604f",
    "theme.light.backgroundColor": "#ffffff",
    "theme.light.secondaryBackgroundColor": "#eef2f0",
    "theme.light.textColor": "#1b2622",
    "theme.light.borderColor": "#d5deda",
    "theme.light.codeBackgroundColor": "#f3f6f5",
    "theme.light.codeTextColor": "#1b2622",
    "theme.light.chartCategoricalColors": ["#24604f", "#b3661b", "#3f6fb0", "#8a4f9e"],
    "theme.dark.primaryColor": "#5cc0a3",
    "theme.dark.backgroundColor": "#101614",
    "theme.dark.secondaryBackgroundColor": "#1b2522",
    "theme.dark.textColor": "#e4ebe8",
    "theme.dark.borderColor": "#2f3d38",
    "theme.dark.codeBackgroundColor": "#161e1b",
    "theme.dark.codeTextColor": "#d7e2de",
    "theme.dark.chartCategoricalColors": ["#5cc0a3", "#e0a25c", "#7fa8e0", "#c795d6"],
}
"""The fonts of the reader's system: none is fetched from elsewhere."""


async def healthz(_request: Request) -> PlainTextResponse:
    """Say that the process lives."""
    return PlainTextResponse("ok")


def create() -> st.App:
    """Return the application."""
    for name, value in (OPTIONS | LOOK).items():
        config.set_option(name, value)
    return st.App(
        Path(__file__).with_name("script.py"),
        routes=[Route("/healthz", healthz)],
        middleware=[Middleware(Guard)],
    )
