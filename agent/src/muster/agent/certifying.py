"""Joining with a certificate of the operator's own CA, which the host has already.

The server's challenge is signed together with the key that is made here, and that never leaves.
"""

import socket
import ssl
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import ValidationError

from muster.agent.joining import Token, fetch, is_loopback, trusted
from muster.contracts.authority import Joined
from muster.contracts.certificates import JoinByCertificate, JoinChallenge
from muster.contracts.errors import Denied, Malformed
from muster.kit.identity.certificates import client_context
from muster.kit.identity.nkeys import Key
from muster.kit.identity.vetting import join_text, pem_of, signed
from muster.kit.text import clean


@dataclass(frozen=True, slots=True)
class Papers:
    """A certificate and its key, and whom to believe to be the server."""

    server: str
    cert: Path
    key: Path
    ca: Path | None = None
    fingerprint: str = ""

    def context(self) -> ssl.SSLContext | None:
        """Return whom to believe; None on this machine without TLS."""
        parts = urlsplit(self.server)
        if parts.scheme == "http" and parts.hostname and is_loopback(parts.hostname):
            return None
        if parts.scheme != "https" or not parts.hostname:
            raise Denied(f"{clean(self.server)} is not encrypted: give https://…")
        if self.ca:
            try:
                return client_context(self.ca.read_text())
            except (ValueError, ssl.SSLError) as error:
                raise Malformed(f"{self.ca} is no certificate in PEM") from error
        if self.fingerprint:
            return trusted(Token(self.server, self.fingerprint.replace(":", "").lower(), ""))
        return ssl.create_default_context()


def join(papers: Papers, hostname: str = "", *, force: bool = False) -> tuple[Joined, Key]:
    """Become a node; return what the server says and the key that only we have."""
    chain, secret = pem_of(papers.cert.read_bytes()), papers.key.read_bytes()
    signed(chain, secret, b"")  # before the server is asked
    context, name = papers.context(), (hostname or socket.gethostname())[:253]
    key = Key.generate("U")
    try:
        nonce = JoinChallenge.model_validate_json(_post(papers, "challenge", b"", context)).nonce
        ask = JoinByCertificate(
            chain=chain,
            nonce=nonce,
            public_key=key.public,
            hostname=name,
            proof=key.sign((nonce + key.public).encode()),
            signature=signed(chain, secret, join_text(nonce, key.public, name, force=force)),
            force=force,
        )
        body = ask.model_dump_json(exclude={"origin"}).encode()
        return Joined.model_validate_json(_post(papers, "certificate", body, context)), key
    except ValidationError as error:
        raise Malformed("the server's answer is not one of Muster") from error


def _post(papers: Papers, what: str, body: bytes, context: ssl.SSLContext | None) -> bytes:
    url = f"{papers.server.rstrip('/')}/api/v1/join/{what}"
    header = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, header, method="POST")  # noqa: S310  # see context
    return fetch(request, context)
