"""An identity provider on a port of the loopback that can be made to lie."""

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

CLIENT = "muster:1"
SECRET = "a secret + more"  # noqa: S105
Key = RSAKey | ECKey | OKPKey | OctKey


@dataclass
class Asked:
    """What a browser has brought to the login page."""

    redirect_uri: str
    nonce: str
    challenge: str
    claims: dict[str, Any]


@dataclass
class LyingProvider:
    """Honest, until a test changes something."""

    url: str
    key: Key = field(default_factory=lambda: RSAKey.generate_key(2048, auto_kid=True))
    algorithm: str = "RS256"
    published: list[dict[str, Any]] = field(default_factory=list)
    discovery: dict[str, Any] = field(default_factory=dict)
    """What it says of itself otherwise than it should."""
    lies: dict[str, Any] = field(default_factory=dict)
    """Claims that it makes up."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    """Whole answers by path."""
    token: str = ""
    """The ID token that it gives, whatever was asked."""
    seen: list[str] = field(default_factory=list)
    codes: dict[str, Asked] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Publish the key that it signs with."""
        self.published = [self.key.as_dict(private=False)]

    def visit(self, url: str, sub: str = "sub-1", **claims: Any) -> dict[str, str]:
        """Log in at *url* as a browser does; returns what it brings back."""
        asked = {name: some[0] for name, some in parse_qs(urlsplit(url).query).items()}
        assert asked["response_type"] == "code"
        assert asked["code_challenge_method"] == "S256"
        assert asked["client_id"] == CLIENT
        assert "openid" in asked["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = Asked(
            asked["redirect_uri"], asked["nonce"], asked["code_challenge"], {"sub": sub, **claims}
        )
        return {"state": asked["state"], "code": code}

    def document(self) -> dict[str, Any]:
        """Say where its doors are."""
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?kind=1",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "userinfo_endpoint": f"{self.url}/userinfo",
        } | self.discovery

    def redeem(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        """Give tokens for a code: once, to who began, with the right verifier."""
        basic = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        client = [unquote_plus(part) for part in basic.split(":")] if authorization else []
        if (client or [form.get("client_id", ""), form.get("client_secret", "")]) != [
            CLIENT,
            SECRET,
        ]:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if asked is None or (asked.challenge, asked.redirect_uri) != (
            challenge,
            form["redirect_uri"],
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {"access_token": "at", "token_type": "Bearer", "id_token": self.signed(asked)}

    def signed(self, asked: Asked) -> str:
        """Return an ID token, with all lies."""
        now = datetime.now(UTC)
        claims = {
            "iss": self.url,
            "aud": CLIENT,
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "iat": int(now.timestamp()),
            "nonce": asked.nonce,
            **asked.claims,
            **self.lies,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm}
        return self.token or jwt.encode(header, claims, self.key, algorithms=[self.algorithm])

    def get(self, path: str, authorization: str) -> tuple[int, Any]:
        """Answer a question."""
        if path == "/userinfo":
            return (200, self.userinfo) if authorization == "Bearer at" else (401, {})
        pages = {
            "/.well-known/openid-configuration": self.document(),
            "/jwks": {"keys": self.published},
        }
        return (200, pages[path]) if path in pages else (404, {})


@contextmanager
def provider() -> Iterator[LyingProvider]:
    """Run one for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*made.get(urlsplit(self.path).path, self.headers.get("authorization", "")))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            form = {name: some[0] for name, some in parse_qs(body).items()}
            self._send(*made.redeem(form, self.headers.get("authorization", "")))

        def _send(self, status: int, told: Any) -> None:
            path = urlsplit(self.path).path
            made.seen.append(path)
            status, data = made.answers.get(path, (status, json.dumps(told).encode()))
            self.send_response(status)
            self.send_header("content-type", "application/json")
            if 300 <= status < 400:
                self.send_header("location", f"{made.url}/elsewhere")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made = LyingProvider(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
