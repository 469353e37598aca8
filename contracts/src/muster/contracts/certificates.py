"""What the authority answers about certificates: the server's own CA."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import CaNotice, KeyNotice
from muster.contracts.base import SERVICE, Call, Message, Nothing


class CaNews(Message):
    """The server's certificate authorities, for who trusts an earlier one: nothing is secret."""

    ca: str = ""
    """PEM, the one that issues first; empty if the broker speaks no TLS."""
    vouchers: Annotated[list[str], Field(max_length=64)] = []
    """PEM: in each an earlier authority vouches for a later one."""
    notice: CaNotice | None = None
    keys: Annotated[list[KeyNotice], Field(max_length=64)] = []
    """Which keys may sign, for who has missed that as well; oldest first."""


CA_NEWS: Final = Call("muster.svc.authority.ca_news", Nothing, CaNews, SERVICE, safe=True)
