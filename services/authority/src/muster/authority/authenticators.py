"""What browsers and authenticators say about passkeys (WebAuthn Level 3), made and checked.

The library is imported when it is needed: it takes a fifth of a second, which no start should wait.
"""

import ipaddress
import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from muster.contracts.errors import Conflict, Denied

LIVES: Final = 300
"""Seconds for which a question waits."""

_NONSENSE: Final = "the browser sent something that is no passkey"
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*=*")
_LONGEST_ID: Final = 1400
"""Letters of a credential's id: 1023 bytes, says the standard."""


@dataclass(frozen=True, slots=True)
class Party:
    """Who asks: this server, by its name; a passkey of one name is of no use to another."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What has come from a browser; nothing of it is believed yet."""

    text: str
    challenge: str
    credential: str
    handle: str


@dataclass(frozen=True, slots=True)
class Made:
    """A new passkey."""

    credential: str
    public_key: str
    uses: int


def party_of(public_url: str) -> Party:
    """Return who we are to browsers, or raise `Conflict` with why there can be no passkeys."""
    parts = urlsplit(public_url)
    host = parts.hostname or ""
    local = host == "localhost" or host.endswith(".localhost")
    if not host or _is_address(host):
        raise Conflict(
            f"passkeys belong to a name, and people reach this server at {public_url or 'none'}: "
            "start it with --address NAME (localhost will do on one machine)"
        )
    if parts.scheme != "https" and not local:
        raise Conflict(f"browsers have passkeys for https only, and this server is {public_url}")
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    port = "" if parts.port in {None, usual} else f":{parts.port}"
    return Party(host, f"{parts.scheme}://{host}{port}")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def heard(text: str) -> Heard:
    """Return what a browser says, taken apart, or raise `Denied`."""
    try:
        told = json.loads(text)
        data = json.loads(from_text(told["response"]["clientDataJSON"]))
        handle = told["response"].get("userHandle") or ""
        challenge, credential = data["challenge"], told["id"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Denied(_NONSENSE) from error
    parts = (challenge, credential, handle)
    fit = all(isinstance(one, str) and _BASE64URL.fullmatch(one) for one in parts)
    if not fit or len(credential) > _LONGEST_ID or data.get("crossOrigin"):
        raise Denied(_NONSENSE)
    return Heard(text, challenge, credential, handle.rstrip("="))


def creation(party: Party, challenge: str, handle: str, name: str, known: Sequence[str]) -> str:
    """Return what the browser needs to make a passkey that can be found without a name."""
    from webauthn import generate_registration_options, options_to_json  # noqa: PLC0415
    from webauthn.helpers.structs import (  # noqa: PLC0415
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=party.id,
        rp_name="Muster",
        user_id=from_text(handle),
        user_name=name,
        challenge=from_text(challenge),
        timeout=LIVES * 1000,
        exclude_credentials=_descriptors(known),
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return options_to_json(options)


def request(party: Party, challenge: str, known: Sequence[str]) -> str:
    """Return what the browser needs to ask for a passkey: one of *known*, or any if none."""
    from webauthn import generate_authentication_options, options_to_json  # noqa: PLC0415
    from webauthn.helpers.structs import UserVerificationRequirement  # noqa: PLC0415

    options = generate_authentication_options(
        rp_id=party.id,
        challenge=from_text(challenge),
        timeout=LIVES * 1000,
        allow_credentials=_descriptors(known),
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return options_to_json(options)


def registered(party: Party, said: Heard) -> Made:
    """Return the passkey that was made for us, or raise `Denied`."""
    from webauthn import verify_registration_response  # noqa: PLC0415

    try:
        made = verify_registration_response(
            credential=said.text,
            expected_challenge=from_text(said.challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except Exception as error:  # parsers of hostile bytes say no in many ways
        raise Denied(f"this passkey does not fit: {error}") from error
    return Made(to_text(made.credential_id), to_text(made.credential_public_key), made.sign_count)


def asserted(party: Party, said: Heard, public_key: str) -> int:
    """Return how often the passkey says it was used, if it is that of *public_key*.

    The library would compare that number as well, but not tell a copy from nonsense.
    """
    from webauthn import verify_authentication_response  # noqa: PLC0415

    try:
        shown = verify_authentication_response(
            credential=said.text,
            expected_challenge=from_text(said.challenge),
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=from_text(public_key),
            credential_current_sign_count=0,
            require_user_verification=True,
        )
    except Exception as error:  # parsers of hostile bytes say no in many ways
        raise Denied(f"this passkey does not fit: {error}") from error
    return shown.new_sign_count


def went_back(before: int, now: int) -> bool:
    """Whether a passkey counts as only a copy does: those that do not count always say 0."""
    return bool(before or now) and now <= before


def _descriptors(known: Sequence[str]) -> list[Any]:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor  # noqa: PLC0415

    return [PublicKeyCredentialDescriptor(id=from_text(one)) for one in known]


def to_text(data: bytes) -> str:
    """Return *data* as base64url without padding, as WebAuthn writes it."""
    return urlsafe_b64encode(data).decode().rstrip("=")


def from_text(text: str) -> bytes:
    """Return the bytes of base64url; raises `ValueError`."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
