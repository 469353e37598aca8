"""Joining: a one-line token becomes the identity of a node.

``muster1.`` and base64url of JSON: ``u`` the gateway, ``f`` the fingerprint of its certificate
authority, ``s`` the secret. The authority's certificate is fetched without trust and believed
only if its fingerprint is the one in the token; everything else goes over TLS that it verifies.
The private key is made here and never leaves.
"""

import base64
import ipaddress
import json
import socket
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import ValidationError

from muster.contracts.authority import Join, Joined
from muster.contracts.certificates import CaNews
from muster.contracts.errors import BY_CODE, Denied, Malformed, MusterError, Unavailable
from muster.kit.identity.authorities import follow
from muster.kit.identity.certificates import blind_context, client_context, fingerprint, split
from muster.kit.identity.nkeys import Key
from muster.kit.text import clean

PREFIX: Final = "muster1."
_TIMEOUT: Final = 20.0
_MOST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Token:
    """What the one-line token says."""

    url: str
    fingerprint: str
    secret: str

    @classmethod
    def parse(cls, line: str, server: str = "") -> "Token":
        """Return what *line* says, with another gateway if *server* is given."""
        text = line.strip()
        if not text.startswith(PREFIX):
            raise Malformed(f"a join token begins with {PREFIX}: copy the whole line")
        body = text.removeprefix(PREFIX)
        try:
            said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            token = cls(server or str(said["u"]), str(said["f"]).lower(), str(said["s"]))
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed("the join token is damaged: copy the whole line") from error
        token.check()
        return token

    def check(self) -> None:
        """Raise unless the gateway can be spoken to safely."""
        parts = urlsplit(self.url)
        if parts.scheme == "https" and parts.hostname and self.fingerprint:
            return
        if parts.scheme == "http" and parts.hostname and not self.fingerprint:
            if is_loopback(parts.hostname):
                return
            raise Denied(f"{clean(self.url)} is not encrypted: that is for this machine alone")
        raise Malformed(f"the join token names no server that can be trusted: {clean(self.url)}")

    def endpoint(self, name: str) -> str:
        """Return the URL of an endpoint of the gateway."""
        return f"{self.url.rstrip('/')}/api/v1/{name}"


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine, so that nobody can listen in between."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def join(token: Token, hostname: str = "") -> tuple[Joined, Key]:
    """Become a node; return what the server says and the key that only we have."""
    context = trusted(token) if token.fingerprint else None
    key = Key.generate("U")
    proof = key.sign((token.secret + key.public).encode())
    ask = Join(
        secret=token.secret,
        public_key=key.public,
        hostname=(hostname or socket.gethostname())[:253],
        proof=proof,
    )
    body = ask.model_dump_json(exclude={"origin"}).encode()
    request = urllib.request.Request(  # noqa: S310  # checked above: https, or http to ourselves
        token.endpoint("join"), body, {"Content-Type": "application/json"}, method="POST"
    )
    try:
        return Joined.model_validate_json(fetch(request, context)), key
    except ValidationError as error:
        raise Malformed("the server's answer is not one of Muster") from error


def trusted(token: Token) -> ssl.SSLContext:
    """Return a context that trusts the authority whose fingerprint the token has.

    And the one that it vouches for, if it has been replaced since the token was made. What else
    the server shows is not believed.
    """
    first = urllib.request.Request(token.endpoint("ca"))  # noqa: S310
    shown = fetch(first, blind_context()).decode("ascii", "replace")
    try:
        every = split(shown)
    except ValueError as error:
        raise Denied("the server has no certificate of an authority to show") from error
    mine = next((pem for pem in every if fingerprint(pem) == token.fingerprint), "")
    if not mine:
        raise Denied(
            "the server's certificate authority is not the one that the token names: "
            "somebody may be in between, or the token is of another server"
        )
    if mine != every[0]:
        mine += follow(mine, shown, news_of(token.url).vouchers)
    return client_context(mine)


def news_of(server: str) -> CaNews:
    """Ask a gateway, which need not be trusted, what became of the server's CA."""
    if not server.startswith("https:"):
        raise Unavailable("no gateway is known that could tell of another CA")
    request = urllib.request.Request(f"{server.rstrip('/')}/api/v1/ca/news")  # noqa: S310
    try:
        return CaNews.model_validate_json(fetch(request, blind_context()))
    except ValidationError as error:
        raise Malformed("the server's answer is not one of Muster") from error


def fetch(request: urllib.request.Request, context: ssl.SSLContext | None) -> bytes:
    """Return the body of the answer, or raise what the server or the network says."""
    handlers: list[Any] = [urllib.request.ProxyHandler({}), _NoRedirects()]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT) as answer:
            return bytes(answer.read(_MOST))
    except urllib.error.HTTPError as error:
        with error:
            raise _problem(error.code, error.read(_MOST)) from None
    except (OSError, ValueError) as error:  # URLError is one, TLS and time-outs too
        reason = getattr(error, "reason", error)
        host = urlsplit(request.full_url).netloc
        raise Unavailable(f"{clean(host)} cannot be reached: {clean(str(reason))}") from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A gateway does not send anybody elsewhere; the secret must not follow."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


def _problem(status: int, body: bytes) -> MusterError:
    """Return the error that an RFC 9457 document describes."""
    try:
        said = json.loads(body)
        kind, detail = BY_CODE.get(str(said["code"]), MusterError), str(said["detail"])
    except (ValueError, KeyError, TypeError):
        return Unavailable(f"the server answered {status}, which is no answer of Muster")
    return kind(clean(detail)[:500])
