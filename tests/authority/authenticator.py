"""An authenticator in software, which can be made to do what a real one would not."""

import base64
import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256

ORIGIN = "http://localhost:8420"
PARTY = "localhost"
_PRESENT, _VERIFIED, _NEW_KEY = 0x01, 0x04, 0x40


def text(data: bytes) -> str:
    """Return base64url, as WebAuthn writes it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def data(written: str) -> bytes:
    """Return the bytes of base64url."""
    return base64.urlsafe_b64decode(written + "==")


@dataclass
class Authenticator:
    """One key for one server; what it says can be bent with keywords."""

    key: EllipticCurvePrivateKey = field(default_factory=lambda: generate_private_key(SECP256R1()))
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    handle: str = ""
    uses: int = 0

    def make(self, options: str, **bent: Any) -> str:
        """Answer `navigator.credentials.create`."""
        wanted = json.loads(options)
        assert wanted["authenticatorSelection"]["residentKey"] == "required"
        assert wanted["authenticatorSelection"]["userVerification"] == "required"
        self.handle = wanted["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        cose = cbor2.dumps({1: 2, 3: -7, -1: 1, **point})
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + cose
        said = self._head(_NEW_KEY, **bent) + attested
        stated = {"fmt": "none", "attStmt": {}, "authData": said}
        client = self._client("webauthn.create", wanted["challenge"], **bent)
        return self._told(clientDataJSON=text(client), attestationObject=text(cbor2.dumps(stated)))

    def show(self, options: str, **bent: Any) -> str:
        """Answer `navigator.credentials.get`."""
        wanted = json.loads(options)
        assert wanted["userVerification"] == "required"
        self.uses += 1
        said = self._head(**bent)
        client = self._client("webauthn.get", wanted["challenge"], **bent)
        seal = self.key.sign(said + hashlib.sha256(client).digest(), ECDSA(SHA256()))
        return self._told(
            clientDataJSON=text(client),
            authenticatorData=text(said),
            signature=text(bent.get("signature", seal)),
            userHandle=bent.get("handle", self.handle),
        )

    def _head(self, kind: int = 0, **bent: Any) -> bytes:
        party = hashlib.sha256(bent.get("party", PARTY).encode()).digest()
        flags = kind | bent.get("flags", _PRESENT | _VERIFIED)
        return party + struct.pack(">BI", flags, bent.get("uses", self.uses))

    def _client(self, kind: str, challenge: str, **bent: Any) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": bent.get("origin", ORIGIN)}
        return json.dumps(told | bent.get("client", {})).encode()

    def _told(self, **response: Any) -> str:
        whole = {"id": text(self.id), "rawId": text(self.id), "type": "public-key"}
        return json.dumps({**whole, "response": response, "clientExtensionResults": {}})
