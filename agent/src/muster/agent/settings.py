"""What the host's administrator may set: ``MUSTER_AGENT_*``, or ``[agent]`` in ``agent.toml``."""

from pathlib import Path

from pydantic import Field

from muster.kit.logs import Form, Level
from muster.kit.settings import Settings as Base


class Settings(Base):
    """Of one agent."""

    data_dir: Path | None = Field(
        default=None,
        description="the agent's private directory",
    )
    heartbeat: float = Field(
        default=10.0,
        gt=0,
        description="seconds between heartbeats",
    )
    sync: float = Field(
        default=60.0,
        gt=0,
        description="seconds between comparing notes with the scheduler",
    )
    renew: float = Field(
        default=86400.0,
        gt=0,
        description="seconds between asking for fresh credentials and for the keys that may sign",
    )
    inventory: float = Field(
        default=300.0,
        gt=0,
        description="seconds between looks at what the host is",
    )
    keep: float = Field(
        default=86400.0,
        ge=0,
        description="seconds for which the files of a finished run are kept",
    )
    disk_budget: int = Field(
        default=10 << 30,
        ge=0,
        description="bytes that the files of finished runs may take together; the oldest go first",
    )
    min_free: int = Field(
        default=256 << 20,
        ge=0,
        description="bytes that must be free on the disk; with less, commands are refused",
    )
    min_free_percent: float = Field(
        default=2.0,
        ge=0,
        le=100,
        description="the same in per cent of the disk; the larger of the two holds",
    )
    log_level: Level = Field(
        default="info",
        description="debug, info, warning or error",
    )
    log_format: Form = Field(
        default="console",
        description="console or json",
    )
