"""What may name a thing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from muster.contracts import names

IN_SUBJECTS = {
    "Token": names.Token,
    "NodeId": names.NodeId,
    "Id": names.Id,
    "NodeName": names.NodeName,
}
WOULD_BE_MORE = ["", "*", ">", "a.b", "a b", "a\n", "a\0", "A", "é", "-a", "_a", "$SYS", "x" * 64]


@pytest.mark.parametrize("text", WOULD_BE_MORE, ids=repr)
@pytest.mark.parametrize("kind", IN_SUBJECTS)
def test_nothing_that_means_more_than_itself_gets_into_a_subject(kind: str, text: str) -> None:
    """A star, a dot or white space in a subject would reach others."""
    with pytest.raises(ValidationError):
        TypeAdapter(IN_SUBJECTS[kind]).validate_python(text)


@given(st.text(max_size=80))
def test_a_token_is_one_token(text: str) -> None:
    """Whatever passes has no separator, no wildcard and nothing that could be mistaken."""
    try:
        token = TypeAdapter(names.Token).validate_python(text)
    except ValidationError:
        return
    assert not set(token) & set(".*> \t\r\n$")
    assert token.isascii()


def test_ids_sort_by_time() -> None:
    """A list by id is a list by time, over the whole range that will ever be used."""
    moments = [0.0, 1.0, 1.001, 1_700_000_000.0, 1_700_000_000.001, 4_000_000_000.0]
    ids = [names.new_id(moment) for moment in moments]
    assert ids == sorted(ids)


def test_an_id_is_an_id_and_never_comes_twice() -> None:
    """80 random bits in each millisecond."""
    ids = [names.new_id() for _ in range(2000)]
    assert len(set(ids)) == len(ids)
    for one in ids:
        TypeAdapter(names.Id).validate_python(one)


def test_a_node_id_is_a_node_id() -> None:
    """What is made passes the check that everybody makes, and is a token."""
    for _ in range(500):
        one = TypeAdapter(names.NodeId).validate_python(names.new_node_id())
        assert re.fullmatch(names.TOKEN, one)


def test_no_node_id_can_be_taken_for_a_service() -> None:
    """The broker's permissions tell nodes from services by their names alone."""
    for name in ("authority", "registry", "scheduler", "gateway", "nats", "notifier"):
        with pytest.raises(ValidationError):
            TypeAdapter(names.NodeId).validate_python(name)


@given(st.text(max_size=300))
def test_any_host_name_makes_a_node_name(text: str) -> None:
    """A host may call itself what it wants; the node still has a name that is allowed."""
    TypeAdapter(names.NodeName).validate_python(names.to_node_name(text))


@pytest.mark.parametrize(
    ("host", "name"),
    [("Web-1.example.org", "web-1"), ("日本", "node"), ("a b", "a-b"), ("", "node")],
)
def test_a_node_is_called_like_its_host(host: str, name: str) -> None:
    """The first part of the host name, in lower case."""
    assert names.to_node_name(host) == name
