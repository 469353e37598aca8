"""Whom to trust at a server that one has not spoken with before, as ssh does with a host key."""

import http.client
import json
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
    shown = _shown(url)
    pem, found = shown[0], _fingerprint(shown[0])
    if fingerprint:
        wanted = fingerprint.replace(":", "").lower()
        mine = next((one for one in shown if _fingerprint(one) == wanted), "")
        if not mine:
            raise Failure(t("login.other_ca", found=found))
        return mine if mine == pem else followed(url, mine) or mine
    if not terminals.can_ask():
        raise Failure(t("login.unknown_ca", found=found), t("login.unknown_ca.hint"))
    click.echo(t("login.new_ca", url=url, found=found), err=True)
    click.confirm(t("login.trust"), abort=True, err=True)
    return pem


def followed(url: str, pinned: str) -> str:
    """Return the CA (PEM) that the server has now, if *pinned* vouches for it; else nothing."""
    from muster.kit.identity.authorities import follow  # noqa: PLC0415  # start-up time
    from muster.kit.identity.certificates import blind_context  # noqa: PLC0415

    try:
        told = json.loads(_get(url, blind_context(), "/news"))
        found = follow(pinned, str(told["ca"]), [str(one) for one in told["vouchers"]])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return ""
    return "" if found in pinned else found


def _shown(url: str) -> list[str]:
    """Return the CAs that the server shows: nothing secret is sent, and they are compared next."""
    from muster.kit.identity.certificates import blind_context, split  # noqa: PLC0415

    try:
        return split(_get(url, blind_context()).decode("ascii", "replace"))
    except ValueError as error:
        raise Failure(t("login.no_ca")) from error
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(t("client.unreachable", url=url, error=error)) from error


def _get(url: str, context: ssl.SSLContext, more: str = "") -> bytes:
    parts = urlsplit(url)
    line = http.client.HTTPSConnection(
        parts.hostname or "", parts.port or 443, timeout=_TIMEOUT, context=context
    )
    try:
        line.request("GET", f"/api/v1/ca{more}")
        return line.getresponse().read(_MOST)
    finally:
        line.close()


def _fingerprint(pem: str) -> str:
    from muster.kit.identity.certificates import fingerprint  # noqa: PLC0415  # start-up time

    return fingerprint(pem)
