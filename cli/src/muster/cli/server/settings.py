"""What the operator may set for the server as a whole: ``MUSTER_SERVER_*`` or ``[server]``."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ServerSettings(BaseModel):
    """How `muster up` runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    listen: str = Field(
        default="127.0.0.1",
        description="address to listen on; anything but loopback is served with TLS",
    )
    address: str = Field(
        default="", description="name or address under which other hosts reach this server"
    )
    port: int = Field(default=0, ge=0, le=65535, description="HTTP port; 0: 8420 or a free one")
    nats_port: int = Field(
        default=0, ge=0, le=65535, description="port of the broker; 0: 4222 or a free one"
    )
    agent: bool = Field(default=True, description="run an agent on this host")
    dashboard: bool = Field(default=True, description="run the operators' dashboard")
    processes: bool = Field(default=False, description="one process per service")
    tls_cert: Path | None = Field(default=None, description="own certificate (PEM) for HTTPS")
    tls_key: Path | None = Field(default=None, description="key of the own certificate")
    disk: int = Field(
        default=4 * 1024**3, ge=64 * 1024**2, description="bytes that the broker may store"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="how much is logged"
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="form of the log lines"
    )
