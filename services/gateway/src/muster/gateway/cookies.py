"""The session cookie, and the token that shows that a request is not forged (CSRF).

The token is derived from the session's secret, so that every gateway can check it and nobody
can make one who does not know the secret; a page reads it from the cookie ``muster_csrf`` and
sends it in the header ``X-Muster-CSRF`` or in a form. Before there is a session, a random
cookie does the same for the login form.
"""

import base64
import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import Response

from muster.contracts.authority import Session
from muster.contracts.errors import Denied

CSRF: Final = "muster_csrf"
CSRF_HEADER: Final = "X-Muster-CSRF"
_LANGUAGE: Final = "muster_lang"


def csrf_token(secret: str) -> str:
    """Return the token that belongs to the session with *secret*."""
    digest = hmac.digest(secret.encode(), b"muster csrf", hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:24]).decode()


class Cookies:
    """Gives and takes cookies; *secure* where the browser speaks TLS."""

    def __init__(self, *, secure: bool) -> None:
        """Prefix the name with ``__Host-`` where that is possible."""
        self.secure = secure
        self.session = "__Host-muster" if secure else "muster"
        self._away = "__Host-muster_away" if secure else "muster_away"

    def secret(self, conn: HTTPConnection) -> str:
        """Return the session's secret, or nothing."""
        return conn.cookies.get(self.session, "")[:200]

    def give(self, response: Response, session: Session) -> None:
        """Let the browser keep *session*."""
        age = max(0, int((session.expires - datetime.now(UTC)).total_seconds()))
        self._set(response, self.session, session.secret, age, hidden=True)
        self._set(response, CSRF, csrf_token(session.secret), age)

    def take(self, response: Response) -> None:
        """Let the browser forget its session."""
        self._set(response, self.session, "", 0, hidden=True)
        self._set(response, CSRF, "", 0)

    def send_away(self, response: Response, secret: str, until: datetime) -> None:
        """Let the browser keep what it has to bring back from an identity provider."""
        age = max(0, int((until - datetime.now(UTC)).total_seconds()))
        self._set(response, self._away, secret, age, hidden=True)

    def away(self, conn: HTTPConnection) -> str:
        """Return what the browser has kept meanwhile, or nothing."""
        return conn.cookies.get(self._away, "")[:200]

    def come_back(self, response: Response) -> None:
        """Let the browser forget it."""
        self._set(response, self._away, "", 0, hidden=True)

    def speak(self, response: Response, language: str) -> None:
        """Let the browser remember the language for a year."""
        self._set(response, _LANGUAGE, language, 365 * 86400)

    def form_token(self, conn: HTTPConnection, response: Response) -> str:
        """Return the token for a form on a page, and see that the browser has its cookie."""
        secret = self.secret(conn)
        token = csrf_token(secret) if secret else conn.cookies.get(CSRF, "")
        token = token or secrets.token_urlsafe(24)
        if conn.cookies.get(CSRF) != token:
            self._set(response, CSRF, token, 86400)
        return token

    def check(self, conn: HTTPConnection, given: str) -> None:
        """Raise `Denied` unless *given* is the token of this browser."""
        secret = self.secret(conn)
        expected = csrf_token(secret) if secret else conn.cookies.get(CSRF, "")
        if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
            raise Denied(f"send the value of the cookie {CSRF} in the header {CSRF_HEADER}")

    def _set(
        self, response: Response, name: str, value: str, age: int, *, hidden: bool = False
    ) -> None:
        response.set_cookie(
            name, value, max_age=age, secure=self.secure, httponly=hidden, samesite="lax"
        )
