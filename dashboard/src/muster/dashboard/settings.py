"""Where the dashboard listens and whom it asks: ``MUSTER_DASHBOARD_*``, section ``[dashboard]``."""

import ipaddress
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from muster.kit.settings import Settings as Base
from muster.kit.settings import load

UNIX: Final = "unix:"


class Settings(Base):
    """The dashboard's settings."""

    listen: str = Field(
        default="127.0.0.1:8421", description="unix:/path, or an address and port of this machine"
    )
    gateway: str = Field(
        default="http://127.0.0.1:8420", description="URL of the gateway, or unix:/path"
    )
    refresh: float = Field(
        default=5.0, gt=0, description="seconds between two looks at the fleet's table"
    )
    ca: str = Field(default="", description="file with the CA of the gateway's certificate")

    @field_validator("listen")
    @classmethod
    def _of_this_machine(cls, place: str) -> str:
        if place.startswith(UNIX + "/"):
            return place
        host, _, port = place.rpartition(":")
        if not port.isdecimal() or not _is_loopback(host.strip("[]")):
            raise ValueError("give unix:/path or 127.0.0.1:port: others come through the gateway")
        return place

    @field_validator("gateway")
    @classmethod
    def _a_gateway(cls, place: str) -> str:
        if place.startswith(UNIX + "/") or urlsplit(place).scheme in {"http", "https"}:
            return place.rstrip("/")
        raise ValueError("give https://host:port or unix:/path")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process."""
    return load(Settings, "dashboard").settings
