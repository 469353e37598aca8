"""How a host becomes a node: join tokens, the CA, and joining itself."""

import base64
import json
from typing import Annotated

from fastapi import APIRouter, Body, Path, Request, Response
from pydantic import Field

from muster.contracts.authority import (
    CREATE_JOIN_TOKEN,
    JOIN,
    LIST_JOIN_TOKENS,
    REVOKE_JOIN_TOKEN,
    CreateJoinToken,
    Join,
    Joined,
    JoinTokenCreated,
    RevokeJoinToken,
)
from muster.contracts.base import NOTHING, Message
from muster.contracts.certificates import (
    CA_NEWS,
    JOIN_BY_CERTIFICATE,
    JOIN_CHALLENGE,
    CaNews,
    JoinByCertificate,
    JoinChallenge,
)
from muster.contracts.errors import NotFound
from muster.contracts.names import Id, PublicKey, ShortText
from muster.gateway.gate import Here, Me, gate_of
from muster.gateway.openapi import PUBLIC, declared, relayed
from muster.gateway.origins import address_of, base_url, origin_of
from muster.kit.identity.certificates import fingerprint

router = APIRouter(tags=["joining"])


class JoinLine(JoinTokenCreated):
    """A join token, and how to use it."""

    line: str
    """Everything that a host needs, in one line: address, fingerprint of the CA, secret."""
    command: str


class JoinBody(Message):
    """A host asks to become a node; it has made its key itself."""

    secret: Annotated[str, Field(max_length=200)]
    public_key: PublicKey
    hostname: Annotated[str, Field(max_length=253)] = ""
    proof: bytes
    """The signature of the host's key over ``secret + public_key``."""


class CertificateBody(Message):
    """A host with a certificate of a trusted CA asks to become a node."""

    chain: Annotated[str, Field(max_length=64 * 1024)]
    """PEM: the host's certificate, then what leads to the CA."""
    nonce: ShortText
    public_key: PublicKey
    hostname: Annotated[str, Field(max_length=253)] = ""
    proof: bytes
    """The signature of the host's key over ``nonce + public_key``."""
    signature: bytes
    """Of the certificate's key over ``muster join|nonce|public_key|hostname``: RSA-PSS, ECDSA
    (both with SHA-256) or Ed25519."""
    force: bool = False


_TOKENS = {"plain": {"value": {}}, "named": {"value": {"name": "web1", "ttl": 3600}}}


@router.get("/join-tokens", summary="List join tokens", **relayed(LIST_JOIN_TOKENS, "listTokens"))
async def list_tokens(me: Me) -> Response:
    """Answer the join tokens, newest first, without their secrets."""
    return await me.relay(LIST_JOIN_TOKENS, NOTHING)


@router.post(
    "/join-tokens",
    summary="Make a join token",
    status_code=201,
    **declared(CREATE_JOIN_TOKEN, "createToken"),
)
async def create_token(
    body: Annotated[CreateJoinToken, Body(openapi_examples=_TOKENS)], request: Request, me: Me
) -> JoinLine:
    """Make a token for one host; its secret is told only here."""
    made = await me.ask(CREATE_JOIN_TOKEN, body)
    settings = gate_of(request).settings
    line = _line(base_url(request, settings.public_url), settings.ca_text(), made.secret)
    return JoinLine(**dict(made), line=line, command=f"muster agent join {line}")


@router.delete(
    "/join-tokens/{token}",
    summary="Revoke a join token",
    status_code=204,
    **declared(REVOKE_JOIN_TOKEN, "revokeToken"),
)
async def revoke_token(token: Annotated[Id, Path()], me: Me) -> None:
    """Make a join token worthless."""
    await me.ask(REVOKE_JOIN_TOKEN, RevokeJoinToken(id=token))


@router.get("/ca", summary="Get the CA", response_class=Response, **declared(PUBLIC, "getCa"))
async def get_ca(gate: Here) -> Response:
    """Answer the certificate of the CA, PEM; compare its fingerprint before you trust it."""
    pem = gate.settings.ca_text()
    if not pem:
        raise NotFound("this gateway has no CA of its own")
    return Response(pem, media_type="application/x-pem-file")


@router.get("/ca/news", summary="Get what became of the CA", **declared(PUBLIC, "getCaNews"))
async def get_ca_news(gate: Here) -> CaNews:
    """Answer which CAs the server has, with the proofs: for who trusts an earlier one.

    It may be asked without trust: believe nothing but the seals and the vouchers.
    """
    return await gate.bus.ask(CA_NEWS, NOTHING)


@router.post("/join", summary="Become a node", **declared(PUBLIC, "join"))
async def join(body: JoinBody, request: Request, gate: Here) -> Joined:
    """Trade a join token and a public key for the node's credentials."""
    gate.joins.admit(address_of(request))
    ask = Join(**dict(body), origin=origin_of(request))
    return await gate.bus.ask(JOIN, ask, timeout=15)


@router.post(
    "/join/challenge",
    summary="Ask for what a host signs",
    **declared(PUBLIC, "challengeJoin"),
)
async def challenge_join(request: Request, gate: Here) -> JoinChallenge:
    """Answer a challenge that is good once, for two minutes."""
    gate.challenges.admit(address_of(request))
    return await gate.bus.ask(JOIN_CHALLENGE, NOTHING)


@router.post(
    "/join/certificate",
    summary="Become a node by a certificate",
    **declared(PUBLIC, "joinByCertificate"),
)
async def join_by_certificate(body: CertificateBody, request: Request, gate: Here) -> Joined:
    """Trade a certificate, with proofs of its key, for the node's credentials."""
    gate.joins.admit(address_of(request))
    ask = JoinByCertificate(**dict(body), origin=origin_of(request))
    return await gate.bus.ask(JOIN_BY_CERTIFICATE, ask, timeout=15)


def _line(url: str, ca: str, secret: str) -> str:
    """Return the one-line token."""
    told = json.dumps(
        {"u": url, "f": fingerprint(ca) if ca else "", "s": secret}, separators=(",", ":")
    )
    return "muster1." + base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")
