"""Keys and the tokens of NATS: what goes out comes in again, and nothing else does."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.kit.identity import natsjwt, nkeys
from muster.kit.identity.nkeys import Key, Kind

KINDS: list[Kind] = ["O", "A", "U"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_the_same_after_a_visit_to_the_disk(kind: Kind) -> None:
    """Seed and public key say of what kind they are, and the seed is enough."""
    key = Key.generate(kind)
    again = Key.from_seed(f" {key.seed}\n")
    assert key.public.startswith(kind)
    assert key.seed.startswith(f"S{kind}")
    assert (again.public, again.seed, again.kind) == (key.public, key.seed, kind)
    assert nkeys.verify(key.public, b"data", again.sign(b"data"))
    assert nkeys.public_raw(key.public) == key.private.public_key().public_bytes_raw()


def test_a_seed_of_nats_is_read_as_nats_reads_it() -> None:
    """The example of NATS' documentation of nkeys gives the public key that it gives there."""
    key = Key.from_seed("SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY")
    assert key.public == "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"


@pytest.mark.parametrize("place", [0, 1, 5, 30, 57])
def test_a_damaged_seed_is_refused(place: int) -> None:
    """One wrong letter does not make another key."""
    seed = Key.generate("U").seed
    wrong = "A" if seed[place] != "A" else "B"
    with pytest.raises(ValueError, match="nkey"):
        Key.from_seed(seed[:place] + wrong + seed[place + 1 :])


def test_a_key_is_written_in_one_way() -> None:
    """The last letter of a seed has bits to spare: only one of its four forms is the seed."""
    seed = Key.generate("U").seed
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    good = []
    for letter in letters:
        with suppress(ValueError):
            good.append(Key.from_seed(seed[:-1] + letter).seed)
    assert good == [seed]


@given(st.text(max_size=80))
def test_no_text_breaks_the_reading_of_a_key(text: str) -> None:
    """What is no key is a ValueError, whatever it is."""
    for read in (Key.from_seed, nkeys.public_raw):
        with pytest.raises(ValueError):  # noqa: PT011 (many texts, from many places)
            read(text)
    assert not nkeys.verify(text, b"", b"")


def test_a_public_key_is_no_seed() -> None:
    """Nobody signs with what everybody knows."""
    key = Key.generate("U")
    with pytest.raises(ValueError, match="nkey"):
        Key.from_seed(key.public)
    with pytest.raises(ValueError, match="not a public nkey"):
        nkeys.public_raw(key.seed)


def test_a_signature_is_of_one_key_over_one_text() -> None:
    """Another key, another text or another signature do not pass."""
    key, other = Key.generate("U"), Key.generate("U")
    signature = key.sign(b"data")
    assert not nkeys.verify(other.public, b"data", signature)
    assert not nkeys.verify(key.public, b"date", signature)
    assert not nkeys.verify(key.public, b"data", signature[:-1])
    assert not nkeys.verify(key.public, b"data", bytes(64))


def test_a_jwt_says_what_was_put_into_it() -> None:
    """Issuer, subject, name and rights come back; the signature is the issuer's."""
    issuer, user = Key.generate("A"), Key.generate("U")
    token = natsjwt.encode("user", user.public, "n1", {"subs": 3}, issuer, exp=77)
    said = natsjwt.claims(token)
    assert (said["iss"], said["sub"], said["name"], said["exp"]) == (
        issuer.public,
        user.public,
        "n1",
        77,
    )
    assert said["nats"] == {"subs": 3, "type": "user", "version": 2}


def test_a_changed_jwt_is_refused() -> None:
    """Neither the payload nor the signature of another one fits."""
    issuer, user = Key.generate("A"), Key.generate("U")
    token = natsjwt.encode("user", user.public, "n1", {}, issuer)
    other = natsjwt.encode("user", user.public, "n2", {}, issuer)
    head, payload, signature = token.split(".")
    for wrong in (
        f"{head}.{other.split('.')[1]}.{signature}",
        f"{head}.{payload}.{other.split('.')[2]}",
        f"{head}x.{payload}.{signature}",
    ):
        with pytest.raises(ValueError, match="JWT"):
            natsjwt.claims(wrong)
    assert natsjwt.claims(f"{head}.{payload}.{other.split('.')[2]}", check=False)["name"] == "n1"


@pytest.mark.parametrize("text", ["", ".", "a.b.c", "a.b", "....", "\0.é.\ud800"])
def test_what_is_no_jwt_is_refused(text: str) -> None:
    """Whatever it is, it is a ValueError."""
    with pytest.raises(ValueError, match="JWT"):
        natsjwt.claims(text)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists))
def test_a_payload_that_is_no_object_is_refused(value: object) -> None:
    """JSON of another shape is not a crash."""
    payload = natsjwt._base64(json.dumps(value).encode())  # noqa: SLF001 (as nats writes it)
    with pytest.raises(ValueError, match="JWT"):
        natsjwt.claims(f"e30.{payload}.AAAA")
