"""The gateway's REST API, asked with the person's own session: the dashboard has no rights."""

import ssl
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import httpx

from muster.dashboard.settings import settings
from muster.kit.text import clean

COOKIES: Final = ("__Host-muster", "muster")
CSRF: Final = "muster_csrf"


class ApiError(Exception):
    """What the gateway refused; the text is for people."""

    def __init__(self, status: int, detail: str) -> None:
        """Keep the HTTP *status* and the *detail*."""
        super().__init__(detail)
        self.status = status


@lru_cache(maxsize=1)
def client() -> httpx.Client:
    """Return the one connection pool to the gateway; it holds no cookies of its own."""
    found = settings()
    verify: ssl.SSLContext | bool = True
    if found.ca:
        verify = ssl.create_default_context(cafile=found.ca)
    return httpx.Client(base_url=found.gateway, verify=verify, timeout=15.0)


class Api:
    """One person's way to the gateway."""

    def __init__(self, cookies: Mapping[str, str]) -> None:
        """Take the session from the browser's *cookies*."""
        names = (*COOKIES, CSRF)
        self.cookies = {name: cookies[name] for name in names if name in cookies}

    def get(self, path: str, **query: Any) -> Any:
        """Read something; what is None is left out of the query."""
        params = {key: value for key, value in query.items() if value is not None}
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: Any) -> Any:
        """Change something."""
        return self._ask("POST", path, json=body)

    def patch(self, path: str, body: Any) -> Any:
        """Change a part of something."""
        return self._ask("PATCH", path, json=body)

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}
        if CSRF in self.cookies:
            headers["X-Muster-CSRF"] = self.cookies[CSRF]
        try:
            answer = client().request(method, f"/api/v1{path}", headers=headers, **more)
        except httpx.HTTPError as error:
            raise ApiError(503, f"{type(error).__name__}") from error
        if answer.is_error:
            raise ApiError(answer.status_code, clean(_detail(answer)))
        return answer.json() if answer.content else None


def _detail(answer: httpx.Response) -> str:
    try:
        found = answer.json()
    except ValueError:
        return answer.reason_phrase
    return str(found.get("detail") or found.get("title") or answer.reason_phrase)
