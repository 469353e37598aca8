"""The identity provider: where its doors are, what it says of people, and by which keys.

It is not in our hands, so whatever comes from it is bounded in size and time, no redirect is
followed, and no address that it names is used unless nobody can read along there.
"""

import asyncio
import json
import ssl
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote_plus, urlencode

import httpx
from pydantic import BaseModel, ValidationError

from muster.authority.settings import Settings, trusted
from muster.contracts.errors import Denied, Unavailable
from muster.kit.identity.certificates import client_context
from muster.kit.text import clean

_SLOWEST: Final = 10.0
"""Seconds for one question, from the first byte to the last."""

_LARGEST: Final = 512 * 1024
_KEPT: Final = 3600.0
"""Seconds for which its addresses and keys are believed."""

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}

M = TypeVar("M", bound=BaseModel)


class Doors(BaseModel):
    """What the provider says of itself (OpenID Connect Discovery 1.0, 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: list[str] = ["client_secret_basic"]


class Tokens(BaseModel):
    """What it gives for a code."""

    id_token: str
    access_token: str = ""


@dataclass(slots=True)
class _Believed:
    until: float
    doors: Doors
    keys: list[dict[str, Any]]


class Provider:
    """The one provider that the settings name."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask nothing yet."""
        self.name = clean(settings.oidc_name)
        self.issuer = settings.oidc_issuer
        self.client_id = settings.oidc_client_id
        self._settings = settings
        self._clock = clock
        self._believed: _Believed | None = None
        self._asking = asyncio.Lock()

    async def page(self, redirect: str, **asked: str) -> str:
        """Return the address of its login page."""
        known = await self._known()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect,
            "scope": " ".join(self._settings.oidc_scopes),
            "code_challenge_method": "S256",
            **asked,
        }
        door = known.doors.authorization_endpoint
        return f"{door}{'&' if '?' in door else '?'}{urlencode(query)}"

    async def redeem(self, code: str, verifier: str, redirect: str) -> Tokens:
        """Return the tokens for a code that the browser has brought."""
        doors = (await self._known()).doors
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            "code_verifier": verifier,
        }
        basic = "client_secret_basic" in doors.token_endpoint_auth_methods_supported
        secret, auth = self._secret(), None
        if basic:  # both halves are encoded first (RFC 6749, 2.3.1)
            auth = httpx.BasicAuth(quote_plus(self.client_id), quote_plus(secret))
        else:
            form |= {"client_id": self.client_id, "client_secret": secret}
        status, told = await self._ask("POST", doors.token_endpoint, data=form, auth=auth)
        if status != httpx.codes.OK:
            raise Denied(f"{self.name} refuses: {status} {clean(str(told.get('error')))[:100]}")
        return self._fitting(Tokens, told)

    async def keys(self, *, anew: bool = False) -> list[dict[str, Any]]:
        """Return the keys that it signs with; ask for them *anew* if it may have new ones."""
        return (await self._known(anew=anew)).keys

    async def about(self, access_token: str) -> dict[str, Any]:
        """Return what it says of the person besides the ID token; nothing if it says no more."""
        door = (await self._known()).doors.userinfo_endpoint
        if not door or not access_token:
            return {}
        return await self._get(door, headers={"authorization": f"Bearer {access_token}"})

    async def _known(self, *, anew: bool = False) -> _Believed:
        before = self._believed
        async with self._asking:
            known = self._believed
            fresh = known is not None and known.until > self._clock()
            if known is None or not fresh or (anew and known is before):
                known = self._believed = await self._discovered()
            return known

    async def _discovered(self) -> _Believed:
        well_known = f"{self.issuer.rstrip('/')}/.well-known/openid-configuration"
        doors = self._fitting(Doors, await self._get(well_known))
        if doors.issuer != self.issuer:
            raise Unavailable(
                f"{self.name} calls itself {clean(doors.issuer)[:200]}: "
                "the setting oidc_issuer has to be exactly that"
            )
        for url in (doors.authorization_endpoint, doors.token_endpoint, doors.jwks_uri):
            self._check(url)
        if doors.userinfo_endpoint:
            self._check(doors.userinfo_endpoint)
        keys = (await self._get(doors.jwks_uri)).get("keys")
        if not isinstance(keys, list):
            raise Unavailable(f"{self.name} does not say which keys it signs with")
        found = [key for key in keys[:64] if isinstance(key, dict)]
        return _Believed(self._clock() + _KEPT, doors, found)

    def _check(self, url: str) -> None:
        """Refuse an address where somebody could read along; http is for tests on loopback."""
        plain = self.issuer.startswith("http:")
        if not trusted(url) or (url.startswith("http:") and not plain):
            raise Unavailable(f"{self.name} names an address that is not safe: {clean(url)[:200]}")

    def _secret(self) -> str:
        path = self._settings.oidc_client_secret_file or Path()
        try:
            if path.stat().st_mode & _OTHERS:
                raise Unavailable(f"others can read {path}: chmod 600 {path}")
            return path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable(f"the secret for {self.name} cannot be read: {error}") from error

    def _context(self) -> ssl.SSLContext:
        if self._settings.oidc_ca is not None:
            return client_context(self._settings.oidc_ca.read_text())
        return ssl.create_default_context()

    async def _get(self, url: str, **what: Any) -> dict[str, Any]:
        status, told = await self._ask("GET", url, **what)
        if status != httpx.codes.OK:
            raise Unavailable(f"{self.name} answers {status} at {clean(url)[:200]}")
        return told

    async def _ask(self, method: str, url: str, **what: Any) -> tuple[int, dict[str, Any]]:
        """Ask one question; returns the status, and the JSON object, empty if it is none."""
        headers = {**_HEADERS, **what.pop("headers", {})}
        try:
            async with (
                asyncio.timeout(_SLOWEST),
                httpx.AsyncClient(
                    verify=self._context(),
                    trust_env=False,
                    follow_redirects=False,
                    timeout=_SLOWEST,
                ) as client,
                client.stream(method, url, headers=headers, **what) as answer,
            ):
                told = json.loads(await _read(answer))
                return answer.status_code, told if isinstance(told, dict) else {}
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
            why = clean(str(error))[:200] or type(error).__name__
            raise Unavailable(f"{self.name} does not answer as it should: {why}") from error

    def _fitting(self, kind: type[M], told: dict[str, Any]) -> M:
        try:
            return kind.model_validate(told)
        except ValidationError as error:
            missing = ", ".join(str(one["loc"][0]) for one in error.errors())
            raise Unavailable(f"{self.name} does not say what it should: {missing}") from error


async def _read(answer: httpx.Response) -> bytes:
    """Return the body, as long as it is no longer than an honest one."""
    body = b""
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > _LARGEST:
            raise httpx.DecodingError("the answer is too long")
    return body
