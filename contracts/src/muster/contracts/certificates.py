"""What the authority answers about certificates: the server's own CA, and hosts that have one."""

from typing import Annotated, Final

from pydantic import Field

from muster.contracts.authority import CaNotice, Joined, KeyNotice, Origin
from muster.contracts.base import SERVICE, Call, Message, Nothing
from muster.contracts.names import PublicKey, ShortText, Time


class CaNews(Message):
    """The server's certificate authorities, for who trusts an earlier one: nothing is secret."""

    ca: str = ""
    """PEM, the one that issues first; empty if the broker speaks no TLS."""
    vouchers: Annotated[list[str], Field(max_length=64)] = []
    """PEM: in each an earlier authority vouches for a later one."""
    notice: CaNotice | None = None
    keys: Annotated[list[KeyNotice], Field(max_length=64)] = []
    """Which keys may sign, for who has missed that as well; oldest first."""


class JoinChallenge(Message):
    """What a host signs that wants to join with a certificate."""

    nonce: ShortText
    expires: Time


class JoinByCertificate(Message):
    """A host with a certificate of a trusted CA asks to become a node."""

    chain: Annotated[str, Field(max_length=64 * 1024)]
    """PEM: the host's certificate, then what leads to the CA."""
    nonce: ShortText
    public_key: PublicKey
    """The key that the host has made for itself as a node."""
    hostname: Annotated[str, Field(max_length=253)] = ""
    proof: bytes
    """The signature of that key over ``nonce + public_key``."""
    signature: bytes
    """Of the certificate's key; see `muster.kit.identity.vetting`."""
    force: bool = False
    """In the place of the node that has joined with this certificate, if somebody approves."""
    origin: Origin = Origin()


CA_NEWS: Final = Call("muster.svc.authority.ca_news", Nothing, CaNews, SERVICE, safe=True)
JOIN_CHALLENGE: Final = Call(
    "muster.svc.authority.join_challenge", Nothing, JoinChallenge, SERVICE, safe=True
)
JOIN_BY_CERTIFICATE: Final = Call(
    "muster.svc.authority.join_certificate", JoinByCertificate, Joined, SERVICE
)
