"""What the operator may set for the scheduler: ``MUSTER_SCHEDULER_*`` or ``[scheduler]``."""

from pydantic import Field

from muster.kit.service import ServiceSettings


class Settings(ServiceSettings):
    """How patient the scheduler is."""

    resend_after: float = Field(
        default=3.0,
        gt=0,
        description="seconds until an unconfirmed command is sent again; doubles up to a minute",
    )
    lost_after: float = Field(
        default=86400.0,
        gt=0,
        description="seconds of silence, after an answer was due, until a target counts as lost",
    )
    keep_days: float = Field(
        default=90.0, gt=0, description="days for which runs and their output are kept"
    )
