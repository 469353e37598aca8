"""Where the dashboard listens and whom it asks: ``MUSTER_DASHBOARD_*``."""

from functools import lru_cache

from pydantic import Field

from muster.kit.settings import Settings as Base
from muster.kit.settings import load


class Settings(Base):
    """The dashboard's settings."""

    listen: str = Field(
        default="127.0.0.1:8421", description="unix:/path, or an address and port of this machine"
    )
    gateway: str = Field(default="http://127.0.0.1:8420", description="URL of the gateway")
    refresh: float = Field(
        default=5.0, gt=0, description="seconds between two looks at the fleet's table"
    )
    ca: str = Field(default="", description="file with the CA of the gateway's certificate")


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process."""
    return load(Settings, "dashboard").settings
