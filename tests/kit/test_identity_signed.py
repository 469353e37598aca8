"""Signed commands and tickets: not a byte of them can be changed."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from muster.contracts.authority import Origin, Person, Ticket
from muster.contracts.errors import Denied, Malformed, Unauthenticated
from muster.contracts.names import new_id, new_node_id
from muster.contracts.runs import Envelope
from muster.kit import wire
from muster.kit.identity import envelope, tickets

KEY = Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key().public_bytes_raw()
OTHER = Ed25519PrivateKey.generate()
ARGS = b'{"argv":["true"]}'
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def order(args: bytes = ARGS, **more: object) -> Envelope:
    """Return the envelope of a command."""
    values: dict[str, object] = {
        "id": new_id(),
        "node": new_node_id(),
        "verb": "run",
        "run": new_id(),
        "digest": hashlib.sha256(args).hexdigest(),
        "caller": "李",
        "issued": NOW,
        "expires": NOW + timedelta(minutes=1),
        "epoch": 1,
    }
    return Envelope.model_validate(values | more)


BLOB = envelope.sign(order(), KEY) + ARGS


def test_a_genuine_command_opens() -> None:
    """What was signed comes out, with the arguments behind it; an older key may still sign."""
    first = order()
    keys = [OTHER.public_key().public_bytes_raw(), PUBLIC]
    assert envelope.open_command(envelope.sign(first, KEY) + ARGS, keys) == (first, ARGS)


def test_every_byte_counts() -> None:
    """Whichever byte is flipped, and however, the command is not obeyed."""
    for place in range(len(BLOB)):
        for flip in (0x01, 0x80, 0xFF):
            wrong = bytearray(BLOB)
            wrong[place] ^= flip
            with pytest.raises((Denied, Malformed)):
                envelope.open_command(bytes(wrong), [PUBLIC])


def test_no_part_of_a_command_is_a_command() -> None:
    """Wherever it is cut off, and with whatever behind it, it is not obeyed."""
    for end in range(len(BLOB)):
        with pytest.raises((Denied, Malformed)):
            envelope.open_command(BLOB[:end], [PUBLIC])
    with pytest.raises(Malformed):
        envelope.open_command(BLOB + b" ", [PUBLIC])


def test_another_key_does_not_sign() -> None:
    """Neither a stranger's, nor a stranger's under our key's name, nor when no key is known."""
    strange = envelope.sign(order(), OTHER) + ARGS
    for blob in (strange, strange[:2] + envelope.key_id(PUBLIC) + strange[10:]):
        with pytest.raises(Denied):
            envelope.open_command(blob, [PUBLIC])
    with pytest.raises(Denied):
        envelope.open_command(BLOB, [])


def test_arguments_cannot_be_exchanged() -> None:
    """Two genuine commands do not make a third one."""
    other = b'{"argv":["reboot"]}'
    first, second = envelope.sign(order(), KEY), envelope.sign(order(other), KEY)
    with pytest.raises(Malformed, match="arguments"):
        envelope.open_command(first + other, [PUBLIC])
    with pytest.raises(Malformed, match="arguments"):
        envelope.open_command(second + ARGS, [PUBLIC])


@pytest.mark.parametrize("said", [0, 1, 200, 0xFFFF])
def test_a_length_that_lies_is_not_believed(said: int) -> None:
    """The length is signed too, and may not reach behind the end."""
    blob = BLOB[:74] + said.to_bytes(2, "big") + BLOB[76:]
    with pytest.raises(Denied):
        envelope.open_command(blob, [PUBLIC])


def test_what_is_signed_but_no_envelope_is_malformed() -> None:
    """The signature is looked at first; what it covers must make sense as well."""
    for body in (b"", b"{}", b"[]", b"\xff", wire.pack(order()).replace(b'"run"', b'"r\\u0000n"')):
        signed = len(body).to_bytes(2, "big") + body
        blob = b"M1" + envelope.key_id(PUBLIC) + KEY.sign(signed) + signed + ARGS
        with pytest.raises(Malformed):
            envelope.open_command(blob, [PUBLIC])


def test_each_node_gets_an_envelope_of_its_own() -> None:
    """Same order, other node, other id: what one node gets, no other obeys."""
    nodes = [new_node_id() for _ in range(20)]
    opened = [
        envelope.open_command(blob + ARGS, [PUBLIC])[0]
        for blob in envelope.sign_many(order(), nodes, KEY)
    ]
    assert [one.node for one in opened] == nodes
    assert len({one.id for one in opened}) == len(nodes)
    assert {one.caller for one in opened} == {"李"}


def test_a_command_is_too_late_from_its_expiry_on() -> None:
    """The moment itself is too late."""
    one = order()
    assert not envelope.expired(one, one.expires - timedelta(microseconds=1))
    assert envelope.expired(one, one.expires)


@given(st.binary(max_size=300))
def test_no_bytes_are_a_command(data: bytes) -> None:
    """Garbage is denied, also behind a genuine head."""
    for blob in (data, BLOB[:10] + data, BLOB[:74] + data):
        with pytest.raises((Denied, Malformed)):
            envelope.open_command(blob, [PUBLIC])


def ticket(seconds: float = 60) -> Ticket:
    """Return what a ticket says."""
    return Ticket(
        person=Person(name="li", permissions=["node.read"]),
        session=new_id(),
        origin=Origin(address="::1", agent="a browser"),
        issued=NOW,
        expires=NOW + timedelta(seconds=seconds),
    )


def test_a_genuine_ticket_is_believed_until_it_expires() -> None:
    """It proves who asks, for as long as it says."""
    said = ticket()
    token = tickets.sign(said, KEY)
    assert tickets.verify(token, [PUBLIC], NOW + timedelta(seconds=59)) == said
    with pytest.raises(Unauthenticated, match="expired"):
        tickets.verify(token, [PUBLIC], NOW + timedelta(seconds=60))


def test_a_changed_ticket_is_not_believed() -> None:
    """Not a byte can be changed, and nobody else can sign."""
    blob = base64.urlsafe_b64decode(tickets.sign(ticket(), KEY))
    for place in range(len(blob)):
        wrong = bytearray(blob)
        wrong[place] ^= 0x01
        with pytest.raises(Unauthenticated):
            tickets.verify(base64.urlsafe_b64encode(bytes(wrong)).decode(), [PUBLIC], NOW)
    with pytest.raises(Unauthenticated):
        tickets.verify(tickets.sign(ticket(), OTHER), [PUBLIC], NOW)


def test_a_command_is_no_ticket() -> None:
    """The same key signs both; one never passes for the other."""
    with pytest.raises(Unauthenticated):
        tickets.verify(base64.urlsafe_b64encode(BLOB).decode(), [PUBLIC], NOW)
    with pytest.raises(Denied):
        envelope.open_command(base64.urlsafe_b64decode(tickets.sign(ticket(), KEY)), [PUBLIC])


@given(st.text(max_size=200))
def test_no_text_is_a_ticket(text: str) -> None:
    """Garbage is refused, whatever it is."""
    with pytest.raises(Unauthenticated):
        tickets.verify(text, [PUBLIC], NOW)
