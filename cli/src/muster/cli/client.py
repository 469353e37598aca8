"""The REST API over one kept connection.

The standard library alone: this is on the way of every command, and start-up time counts.
"""

import http.client
import json
import platform
import ssl
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from muster.cli.context import Context
from muster.cli.failures import OF_CODE, Exit, Failure, Unreachable
from muster.cli.i18n import t
from muster.kit.text import clean

_ROOT: Final = "/api/v1"
_ERROR: Final = 400
_TIMEOUT: Final = 40.0
"""Seconds: longer than the server ever waits before it answers."""

Json = dict[str, Any]


def path(*parts: str) -> str:
    """Return a path of the API with every part quoted."""
    return "/".join(("", *(quote(part, safe="") for part in parts)))


class Client:
    """One connection to a gateway, as one person."""

    def __init__(
        self,
        context: Context,
        timeout: float = _TIMEOUT,
        keep: Callable[[Context], None] = lambda _: None,
    ) -> None:
        """Speak as *context* says; nothing is opened yet.

        *keep* is told of another CA that has turned out to be the server's.
        """
        self.context = context
        self._timeout = timeout
        self._keep = keep
        self._line: http.client.HTTPConnection | None = None

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        known = {"Authorization": f"Bearer {self.context.token}"} if self.context.token else {}
        return known | {"User-Agent": f"muster-cli ({platform.node()})"}

    def tls(self) -> ssl.SSLContext | None:
        """Return whom to trust, or None where there is no TLS."""
        if not self.context.url.startswith("https:"):
            return None
        ca = self.context.ca
        try:
            if ca and self.context.pinned:
                return ssl.create_default_context(cadata=ca)
            return ssl.create_default_context(cafile=ca)
        except (OSError, ssl.SSLError) as error:
            raise Failure(t("client.ca", ca=ca, error=error)) from error

    def get(self, where: str, **query: object) -> Any:
        """Return the JSON at *where*."""
        return self._json("GET", _with(where, query))

    def send(self, method: str, where: str, body: Json | None = None, *, key: str = "") -> Any:
        """Send JSON; a request with an idempotency *key* may be repeated after a lost answer."""
        return self._json(method, where, {} if body is None else body, key)

    def exchange(
        self, method: str, where: str, body: Json
    ) -> tuple[int, http.client.HTTPMessage, Json]:
        """Send JSON; return status, headers and JSON, whatever they are."""
        response = self._ask(method, where, body)
        text = _read(response)
        try:
            told = json.loads(text) if text else {}
        except ValueError as error:
            raise Failure(t("client.not_json", url=self.context.url)) from error
        return response.status, response.headers, told

    @contextmanager
    def stream(self, where: str, **query: object) -> Generator[http.client.HTTPResponse]:
        """Open the bytes at *where*; whoever does not read to the end loses the connection."""
        response = self._ask("GET", _with(where, query))
        try:
            _refuse(response)
            yield response
        finally:
            if not response.isclosed():
                self.close()

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        if self._line is not None:
            self._line.close()
            self._line = None

    def _json(self, method: str, where: str, body: Json | None = None, key: str = "") -> Any:
        response = self._ask(method, where, body, key)
        _refuse(response)
        text = _read(response)
        try:
            return json.loads(text) if text else {}
        except ValueError as error:
            raise Failure(t("client.not_json", url=self.context.url)) from error

    def _ask(
        self, method: str, where: str, body: Json | None = None, key: str = ""
    ) -> http.client.HTTPResponse:
        """Send a request; once more if the kept connection turns out to be dead."""
        again = self._line is not None or bool(key)
        try:
            return self._try(method, where, body, key)
        except ssl.SSLCertVerificationError as error:  # nothing has been sent
            return self._ask_other(error, method, where, body, key)
        except (http.client.HTTPException, ConnectionError) as error:
            self.close()
            if not again or not (method == "GET" or key):
                raise self._unreachable(error) from error
        except OSError as error:
            self.close()
            raise self._unreachable(error) from error
        return self._try_last(method, where, body, key)

    def _ask_other(
        self,
        error: ssl.SSLCertVerificationError,
        method: str,
        where: str,
        body: Json | None,
        key: str,
    ) -> http.client.HTTPResponse:
        """Send a request to a server whose CA has been replaced, if the pinned one vouches."""
        from muster.cli.trust import followed  # noqa: PLC0415  # seldom needed

        self.close()
        ca = self.context.ca
        found = followed(self.context.url, ca) if ca and self.context.pinned else ""
        if not found:
            raise self._unreachable(error) from error
        self.context = replace(self.context, ca=found)
        response = self._try_last(method, where, body, key)
        self._keep(self.context)  # not before it has proven true
        return response

    def _try_last(
        self, method: str, where: str, body: Json | None, key: str
    ) -> http.client.HTTPResponse:
        try:
            return self._try(method, where, body, key)
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise self._unreachable(error) from error

    def _try(
        self, method: str, where: str, body: Json | None, key: str
    ) -> http.client.HTTPResponse:
        headers = self.headers
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Idempotency-Key"] = key
        payload = None if body is None else json.dumps(body).encode()
        if self._line is None:
            self._line = self._open()
        self._line.request(method, _ROOT + where, payload, headers)
        return self._line.getresponse()

    def _open(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.context.url)
        host = parts.hostname or ""
        tls = self.tls()
        if tls is None:
            return http.client.HTTPConnection(host, parts.port or 80, timeout=self._timeout)
        return http.client.HTTPSConnection(
            host, parts.port or 443, timeout=self._timeout, context=tls
        )

    def _unreachable(self, error: Exception) -> Failure:
        url = self.context.url
        if isinstance(error, ssl.SSLCertVerificationError):
            return Unreachable(t("client.certificate", url=url, error=error.verify_message))
        if isinstance(error, TimeoutError):
            return Failure(t("client.timeout", url=url), code=Exit.NO_ANSWER)
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return Unreachable(
            t("client.unreachable", url=url, error=why), t("client.unreachable.hint")
        )


def _with(where: str, query: dict[str, object]) -> str:
    given = {name: value for name, value in query.items() if value not in (None, "", False)}
    shown = {name: "true" if value is True else value for name, value in given.items()}
    return f"{where}?{urlencode(shown)}" if shown else where


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except TimeoutError as error:
        raise Failure(t("client.cut"), code=Exit.NO_ANSWER) from error
    except (http.client.HTTPException, OSError) as error:
        raise Unreachable(t("client.cut")) from error


def _refuse(response: http.client.HTTPResponse) -> None:
    """Raise what a problem document says."""
    if response.status < _ERROR:
        return
    text = _read(response)
    try:
        told = json.loads(text)
        code, detail = str(told["code"]), str(told["detail"])
    except (ValueError, KeyError, TypeError):
        raise Failure(t("client.status", status=response.status)) from None
    raise failure_of(code, detail)


def failure_of(code: str, detail: str) -> Failure:
    """Return the failure for an error that the server tells."""
    return Failure(clean(detail), _hint(code), OF_CODE.get(code, Exit.ERROR))


def _hint(code: str) -> str:
    """Return what to do about an error, where there is something to do."""
    known = {"unauthenticated", "denied", "unavailable", "no_answer", "too_many", "expired"}
    return t(f"hint.{code}") if code in known else ""
