"""What the local policy of a host allows, as its agent tells it."""

from typing import Annotated, Literal

from pydantic import Field

from muster.contracts.base import Message
from muster.contracts.names import Hostile, Token


class FileRoot(Message):
    """A folder of a host that its local policy lets be reached."""

    path: Hostile
    user: Hostile = ""
    """As whom; empty: as the agent's own user."""
    mode: Literal["ro", "append_only", "no_delete", "rw"] = "no_delete"


class Allowed(Message):
    """What the host's local policy allows; the server can only narrow it."""

    run: bool = True
    users: Annotated[list[Hostile], Field(max_length=1000)] = []
    """As whom commands may run; the first when nobody is named."""
    terminal: bool = True
    update: bool = True
    services: Annotated[list[Hostile], Field(max_length=1000)] | None = None
    """Units that may be controlled; None: all."""
    forward: Annotated[list[Hostile], Field(max_length=1000)] = []
    """``host:port`` that connections may go to."""
    files: Annotated[dict[Token, FileRoot], Field(max_length=100)] = {}
    helper: bool = False
    """Whether a privileged helper carries commands out; false: all is one process of one user."""
