"""What the operator may set for the registry: ``MUSTER_REGISTRY_*`` or ``[registry]``."""

from pydantic import Field

from muster.kit.service import ServiceSettings


class Settings(ServiceSettings):
    """How long it believes and remembers."""

    history_hours: float = Field(
        default=2.0, gt=0, le=168, description="hours of metrics history that are kept"
    )
    silence: float = Field(
        default=30.0,
        gt=0,
        description="seconds without a heartbeat until a node behind a bridge is offline",
    )
    clone_after: float = Field(
        default=30.0,
        ge=1,
        description="seconds of two connections of one node after which an alert is raised",
    )
    settling: float = Field(
        default=3.0,
        ge=0,
        description="seconds that nodes have to come back after a restart of the broker",
    )
