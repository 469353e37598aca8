"""The gateway's REST API, asked with the person's own session: the dashboard has no rights.

Every question carries the cookies of the browser that is looking, and nothing is kept of the
answers: the connections are shared by all people, so their cookie jar takes nothing.
"""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from muster.contracts.base import Message, Nothing
from muster.contracts.errors import Unavailable
from muster.dashboard.settings import UNIX, settings
from muster.kit.text import clean

COOKIES: Final = ("__Host-muster", "muster")
CSRF: Final = "muster_csrf"
M = TypeVar("M", bound=Message)


class ApiError(Exception):
    """What the gateway refused; the text may hold what strangers wrote."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """Keep the HTTP *status*, the *code* for the text, and the *detail*."""
        super().__init__(detail)
        self.status = status
        self.code = code


class Part(NamedTuple):
    """A part of a stored output; `offset` is where it begins."""

    offset: int
    data: bytes
    end: bool


def client() -> httpx.Client:
    """Return the one connection pool to the gateway; another one after a change of the CA."""
    ca = settings().ca
    return pool(Path(ca).stat().st_mtime_ns if ca else 0)


@lru_cache(maxsize=1)
def pool(_changed: int) -> httpx.Client:
    """Open it: no proxy, no cookies of its own."""
    found = settings()
    verify: ssl.SSLContext | bool = True
    if found.ca:
        verify = ssl.create_default_context(cafile=found.ca)
    unix = found.gateway.startswith(UNIX)
    return httpx.Client(
        base_url="http://gateway" if unix else found.gateway,
        transport=httpx.HTTPTransport(
            verify=verify, uds=found.gateway.removeprefix(UNIX) if unix else None, trust_env=False
        ),
        timeout=httpx.Timeout(15.0, connect=3.0),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        trust_env=False,
    )


class Api:
    """One person's way to the gateway."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        """Take the session from the browser's *cookies*."""
        names = (*COOKIES, CSRF)
        self.cookies = {name: cookies[name] for name in names if name in cookies}

    def get(self, kind: type[M], *path: str, **query: Any) -> M:
        """Read something; what is None or empty is left out of the query."""
        params = {
            key: str(value).lower() if isinstance(value, bool) else value
            for key, value in query.items()
            if value is not None and value != ""
        }
        return _as(kind, self._ask("GET", path, params=params))

    def post(self, kind: type[M], *path: str, body: Any, key: str = "") -> M:
        """Change something; the same *key* again has no second effect."""
        headers = {"Idempotency-Key": key} if key else {}
        return _as(kind, self._ask("POST", path, json=body, headers=headers))

    def patch(self, kind: type[M], *path: str, body: Any) -> M:
        """Change a part of something."""
        return _as(kind, self._ask("PATCH", path, json=body))

    def put(self, kind: type[M], *path: str, body: Any) -> M:
        """Make something what it should be."""
        return _as(kind, self._ask("PUT", path, json=body))

    def delete(self, *path: str) -> Nothing:
        """Take something away."""
        return _as(Nothing, self._ask("DELETE", path))

    def output(self, run: str, node: str, stream: str, offset: int) -> Part:
        """Read one part of a stored output."""
        path = ("runs", run, "output", node, stream)
        answer = self._ask("GET", path, params={"offset": offset, "part": 1})
        begin = int(answer.headers.get("muster-offset", offset))
        return Part(begin, answer.content, answer.headers.get("muster-end") == "true")

    def _ask(
        self,
        method: str,
        path: tuple[str, ...],
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {"Cookie": cookie, "X-Muster-CSRF": self.cookies.get(CSRF, ""), **(headers or {})}
        try:
            answer = client().request(method, f"/api/v1/{where(*path)}", headers=sent, **more)
        except (httpx.HTTPError, UnicodeError) as error:
            raise ApiError(503, Unavailable.code, type(error).__name__) from error
        if answer.is_error or answer.is_redirect:
            raise _refusal(answer)
        return answer


def where(*path: str) -> str:
    """Return a path of which no part can lead elsewhere, whatever it holds."""
    return "/".join(quote(part, safe="").replace(".", "%2E") for part in path)


def _as(kind: type[M], answer: httpx.Response) -> M:
    if kind is Nothing:
        return kind()
    try:
        return kind.model_validate_json(answer.content)
    except ValidationError as error:
        raise ApiError(502, "internal", "the gateway's answer cannot be read") from error


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        found = answer.json()
    except ValueError:
        found = {}
    found = found if isinstance(found, dict) else {}
    detail = found.get("detail") or found.get("title") or answer.reason_phrase
    return ApiError(answer.status_code, str(found.get("code", "")), clean(str(detail))[:500])
