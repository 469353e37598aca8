"""Whom to trust at a server that one has not spoken with before, as ssh does with a host key."""

import http.client
import ssl
from urllib.parse import urlsplit

import click

from muster.cli import terminals
from muster.cli.failures import Failure, Unreachable
from muster.cli.i18n import t

_TIMEOUT = 20.0
_MOST = 1 << 20


def authority_of(url: str, fingerprint: str = "") -> str | None:
    """Return the CA (PEM) that vouches for the server at *url*; None: one the system trusts.

    A CA of the server's own is taken only with the *fingerprint* that somebody has read at the
    server, or after a person has compared it.
    """
    parts = urlsplit(url)
    if parts.scheme != "https":
        return None
    try:
        _get(url, ssl.create_default_context())
    except ssl.SSLCertVerificationError:
        pass
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(t("client.unreachable", url=url, error=error)) from error
    else:
        return None
    pem = _shown(url)
    found = _fingerprint(pem)
    if fingerprint:
        if fingerprint.replace(":", "").lower() != found:
            raise Failure(t("login.other_ca", found=found))
        return pem
    if not terminals.can_ask():
        raise Failure(t("login.unknown_ca", found=found), t("login.unknown_ca.hint"))
    click.echo(t("login.new_ca", url=url, found=found), err=True)
    click.confirm(t("login.trust"), abort=True, err=True)
    return pem


def _shown(url: str) -> str:
    """Return the CA that the server shows: nothing secret is sent, and it is compared next."""
    from muster.kit.identity.certificates import blind_context  # noqa: PLC0415  # start-up time

    try:
        return _get(url, blind_context()).decode("ascii", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(t("client.unreachable", url=url, error=error)) from error


def _get(url: str, context: ssl.SSLContext) -> bytes:
    parts = urlsplit(url)
    line = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=_TIMEOUT, context=context
    )
    try:
        line.request("GET", "/api/v1/ca")
        return line.getresponse().read(_MOST)
    finally:
        line.close()


def _fingerprint(pem: str) -> str:
    from muster.kit.identity.certificates import fingerprint  # noqa: PLC0415  # start-up time

    try:
        return fingerprint(pem)
    except ValueError as error:
        raise Failure(t("login.no_ca")) from error
