"""What the operator may set for the authority: ``MUSTER_AUTHORITY_*`` or ``[authority]``."""

from pathlib import Path

from pydantic import Field

from muster.kit.service import ServiceSettings


class Settings(ServiceSettings):
    """Where the keys are, and how long what they sign is good for."""

    keys: Path | None = Field(default=None, description="directory of the server's keys")
    public_url: str = Field(default="", description="where people and hosts reach the gateway")
    node_urls: list[str] = Field(
        default=[], description="where nodes reach the broker; as the services do if empty"
    )
    ticket_seconds: float = Field(default=300, gt=0, description="life of a ticket, in seconds")
    idle_hours: float = Field(
        default=12, gt=0, description="hours without a request after which a session ends"
    )
    session_days: float = Field(default=30, gt=0, description="longest life of a session, in days")
    fresh_minutes: float = Field(
        default=10, gt=0, description="minutes for which a second factor counts as just shown"
    )
    head_minutes: float = Field(
        default=60, gt=0, description="minutes between two published heads of the audit"
    )
    approve_nodes: bool = Field(
        default=False, description="whether somebody has to approve every node that joins"
    )
    node_days: float = Field(default=30, gt=0, description="life of a node's credentials, in days")

    @property
    def keys_dir(self) -> Path:
        """The directory of the server's keys."""
        return self.keys or self.data_dir / "keys"
