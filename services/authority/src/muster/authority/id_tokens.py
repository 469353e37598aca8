"""ID tokens: whether the provider has said this, to us, now, and in answer to our question."""

import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from muster.authority.part import digest
from muster.contracts.errors import Denied

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "RS384", "RS512", "Ed25519", "EdDSA")
"""Signatures with two keys alone: neither `none`, nor a secret that we would share."""

PublicKey = RSAKey | ECKey | OKPKey
_KINDS: Final[dict[str, type[PublicKey]]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
_LEEWAY: Final = 60
"""Seconds that the provider's clock may be off."""

_LONGEST_SUBJECT: Final = 255


class StrangeKeyError(Denied):
    """None of the keys fits: perhaps the provider has new ones."""


def claims_of(
    token: str, keys: Iterable[dict[str, Any]], *, issuer: str, us: str, nonce: str, now: datetime
) -> dict[str, Any]:
    """Return what *token* says, or raise `Denied`.

    *us* is our own name at the provider, *nonce* the SHA-256 of the one that we sent.
    """
    claims = _signed(token, keys)
    rules = jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=_LEEWAY,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": us},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
        nonce={"essential": True},
    )
    try:
        rules.validate(claims)
    except JoseError as error:
        raise Denied(f"the ID token does not fit: {error}") from error
    if claims.get("azp", us) != us or (_several(claims["aud"]) and "azp" not in claims):
        raise Denied("the ID token does not fit: it is for somebody else")
    if not hmac.compare_digest(digest(str(claims["nonce"])), nonce):
        raise Denied("the ID token does not fit: it answers another question")
    if not 0 < len(claims["sub"]) <= _LONGEST_SUBJECT or "\0" in claims["sub"]:
        raise Denied("the ID token does not fit: it names nobody")
    return claims


def _several(audience: str | list[str]) -> bool:
    return isinstance(audience, list) and len(audience) > 1


def _signed(token: str, keys: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return what one of the *keys* has signed."""
    for key in _usable(keys):
        try:
            return jwt.decode(token, key, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError, TypeError):  # another key's, or nonsense
            continue
    raise StrangeKeyError("the ID token does not fit: no key of the provider has signed it")


def _usable(keys: Iterable[dict[str, Any]]) -> Iterable[PublicKey]:
    """Yield the public keys for signatures; what we do not know is for others."""
    for key in keys:
        kind = _KINDS.get(str(key.get("kty")))
        if kind is None or key.get("use", "sig") != "sig":
            continue
        try:
            yield kind.import_key(key)
        except (JoseError, ValueError, TypeError, KeyError):
            continue


def groups_of(claims: dict[str, Any], name: str) -> list[str] | None:
    """Return the groups that the claim *name* tells; None if it is not there."""
    told = claims.get(name)
    if told is None:
        return None
    return [one for one in (told if isinstance(told, list) else [told]) if isinstance(one, str)]
