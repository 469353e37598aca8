"""Where a request comes from: its address, and whether a foreign web page has sent it."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from muster.contracts.authority import Origin
from muster.contracts.errors import Denied
from muster.kit.text import clean

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def address_of(conn: HTTPConnection) -> str:
    """Return the address of the other end."""
    return conn.client.host if conn.client else ""


def origin_of(conn: HTTPConnection) -> Origin:
    """Return where a person's request came from, for the audit."""
    return Origin(
        address=address_of(conn)[:200], agent=clean(conn.headers.get("user-agent", ""))[:200]
    )


def base_url(conn: HTTPConnection, public_url: str) -> str:
    """Return the gateway's own address as others should use it, without a slash at the end."""
    if public_url:
        return public_url.rstrip("/")
    scheme = {"ws": "http", "wss": "https"}.get(conn.url.scheme, conn.url.scheme)
    return f"{scheme}://{conn.headers.get('host', '')}"


def is_own(conn: HTTPConnection, public_url: str) -> bool:
    """Whether the header `Origin` names this gateway."""
    origin = conn.headers.get("origin", "")
    return bool(origin) and origin in {base_url(conn, ""), _origin(public_url)}


def refuse_foreign(conn: HTTPConnection, public_url: str) -> None:
    """Raise `Denied` if another site's page has sent this request."""
    if "origin" in conn.headers and not is_own(conn, public_url):
        raise Denied("this request comes from another site's page")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def local_path(target: str) -> str:
    r"""Return *target* if it is a path on this gateway, else ``/``.

    Browsers take ``//host``, ``/\host`` and paths with control characters for other hosts.
    """
    plain = target.startswith("/") and not target.startswith("//")
    if not plain or "\\" in target or not target.isprintable() or len(target) > 2000:  # noqa: PLR2004
        return "/"
    return target
