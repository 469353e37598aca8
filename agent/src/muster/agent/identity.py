"""Who this node is: what joining gave it, and the key that never left the host."""

import ssl
from collections.abc import Sequence

from pydantic import ValidationError

from muster.agent.home import Home
from muster.contracts.authority import Joined, Renewed
from muster.contracts.base import Message
from muster.contracts.certificates import CaNews
from muster.contracts.errors import Conflict
from muster.contracts.names import NodeId
from muster.kit import wire
from muster.kit.client import Credentials
from muster.kit.identity import natsjwt
from muster.kit.identity.authorities import hear, newest
from muster.kit.identity.certificates import client_context
from muster.kit.identity.nkeys import Key
from muster.kit.identity.rotation import follow

RENEW_AT = 2 / 3
"""The part of a JWT's life after which a fresh one is asked for."""


class Identity(Message):
    """One node's identity."""

    node: NodeId
    jwt: str
    seed: str
    authority_keys: list[str]
    """Pinned at joining: commands of other keys are never obeyed."""
    epoch: int
    urls: list[str]
    ca: str = ""
    server: str = ""
    """The gateway: where another CA is heard of, if the broker has it already."""

    @classmethod
    def of(cls, joined: Joined, key: Key, server: str = "") -> "Identity":
        """Return the identity that the *server* has given to *key*."""
        return cls(**joined.model_dump(), seed=key.seed, server=server)

    @classmethod
    def load(cls, home: Home) -> "Identity":
        """Read it, or raise `NotFound` or `Conflict`."""
        home.check()
        try:
            return cls.model_validate_json(home.identity.read_bytes())
        except ValidationError as error:
            places = wire.places(error)
            raise Conflict(f"{home.identity} is damaged ({places}): join again, --force") from None

    def save(self, home: Home) -> None:
        """Write it for its owner alone, whole or not at all."""
        home.write(home.identity, self.model_dump_json(indent=1))

    def renewed(self, news: Renewed) -> "Identity":
        """Return it with a fresh JWT, if it is one for this very node.

        Other keys are pinned only if those that are pinned have vouched for them, and other CAs
        only if one of these keys has: whoever has stolen a CA could answer as well. A newer epoch
        comes with a signed order.
        """
        keys = follow(self.authority_keys, news.notices)
        values = {
            "jwt": news.jwt if self._fits(news.jwt) else self.jwt,
            "authority_keys": keys,
            "ca": hear(self.ca, news.ca, _raw(keys)),
            "server": news.server or self.server,
        }
        return self.model_copy(update=values)

    def _fits(self, jwt: str) -> bool:
        """Whether *jwt* is genuine, of the same issuer and for the same key as ours."""
        try:
            new, old = natsjwt.claims(jwt), natsjwt.claims(self.jwt, check=False)
        except ValueError:
            return False
        return (new.get("iss"), new.get("sub")) == (old.get("iss"), old.get("sub"))

    def heard(self, news: CaNews) -> "Identity":
        """Return it with the CAs that it should trust by *news*, whoever has brought them.

        The keys stay as they are: who brings old news must not bring old keys back.
        """
        keys = [*self.authority_keys, *follow(self.authority_keys, news.keys)]
        return self.model_copy(update={"ca": hear(self.ca, news.notice, _raw(keys))})

    @property
    def newest_ca(self) -> str:
        """The fingerprint of the youngest CA that it trusts; empty without TLS."""
        try:
            return newest(self.ca)
        except ValueError:
            return "unreadable"

    @property
    def keys(self) -> list[bytes]:
        """The raw public keys of the authority."""
        return _raw(self.authority_keys)

    @property
    def credentials(self) -> Credentials:
        """What the bus logs in with."""
        return Credentials(self.jwt, Key.from_seed(self.seed))

    @property
    def tls(self) -> ssl.SSLContext | None:
        """A context that trusts the server's own authority; None on a broker without TLS."""
        return client_context(self.ca) if self.ca else None

    def renew_in(self, now: float) -> float | None:
        """Return the seconds until a fresh JWT is due; None if this one never ends."""
        claims = natsjwt.claims(self.jwt, check=False)
        if "exp" not in claims:
            return None
        issued, ends = float(claims["iat"]), float(claims["exp"])
        return max(0.0, issued + (ends - issued) * RENEW_AT - now)


def _raw(keys: Sequence[str]) -> list[bytes]:
    return [natsjwt.bytes64(text) for text in keys]
