"""Output and files: byte-exact, bounded, never shown by a browser, never half for whole."""

import httpx
import pytest

from muster.contracts.runs import READ_LIMIT, Output, ReadFile, ReadOutput
from muster.gateway import downloads
from tests.gateway.world import NODE, RUN, World

OUTPUT = f"/api/v1/runs/{RUN}/output/{NODE}/stdout"
CONTENT = f"/api/v1/runs/{RUN}/files/{NODE}/content"


async def test_a_file_arrives_whole(here: World) -> None:
    """Whatever its bytes are, and however many parts it takes."""
    here.scheduler.content = bytes(range(256)) * 6000
    async with here.client() as client:
        answer = await client.get(CONTENT, params={"path": "a/b.bin"})
    assert answer.content == here.scheduler.content
    assert answer.headers["content-length"] == str(len(here.scheduler.content))
    assert here.scheduler.count(ReadFile) == -(-len(here.scheduler.content) // READ_LIMIT)


async def test_an_empty_file_arrives(here: World) -> None:
    """Nothing is something too."""
    async with here.client() as client:
        answer = await client.get(CONTENT, params={"path": "empty"})
    assert (answer.status_code, answer.content) == (200, b"")


async def test_a_download_is_never_shown(here: World) -> None:
    """A result file with a script in it runs nowhere."""
    here.scheduler.content = b"<script>alert(1)</script>"
    async with here.client() as client:
        answer = await client.get(CONTENT, params={"path": 'x/naïve "报告".html'})
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert answer.headers["content-disposition"] == (
        'attachment; filename="na_ve ____.html"; '
        "filename*=UTF-8''na%C3%AFve%20%22%E6%8A%A5%E5%91%8A%22.html"
    )


def test_a_file_name_cannot_end_a_header() -> None:
    """Line breaks and quotes of a stranger stay inside the name."""
    name = 'a"\r\nSet-Cookie: x=1;%\\\udcff'
    disposition = downloads.headers(name)["Content-Disposition"]
    assert disposition.startswith('attachment; filename="a___Set-Cookie: x=1____"; ')
    assert disposition.isascii()
    assert "\r" not in disposition


@pytest.mark.parametrize("change", [-5, 5])
async def test_a_file_that_changes_meanwhile_breaks_off(here: World, change: int) -> None:
    """Nobody takes half a file for a whole one."""
    here.scheduler.content = b"x" * (READ_LIMIT * 2)
    whole = len(here.scheduler.content)
    here.scheduler.size = lambda offset: whole if offset == 0 else whole + change
    async with here.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(CONTENT, params={"path": "log"})


async def test_a_file_that_ends_early_breaks_off(here: World) -> None:
    """A node that promises more than it gives is found out."""
    here.scheduler.content = b"x" * READ_LIMIT
    here.scheduler.size = lambda _: READ_LIMIT * 2
    async with here.client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(CONTENT, params={"path": "log"})


async def test_a_missing_file_is_a_problem_document(here: World) -> None:
    """The error comes before the first byte."""
    async with here.client() as client:
        answer = await client.get(CONTENT, params={"path": "missing"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_stored_output_arrives_with_its_gap_marked(here: World) -> None:
    """What the cap has cut out is told where it is missing."""
    here.scheduler.outputs = [
        Output(offset=0, data=b"head\xff", size=100, end=False),
        Output(offset=90, data=b"tail", size=100, end=False),
        Output(offset=94, data=b"\x00end!!", size=100, end=True),
    ]
    async with here.client() as client:
        answer = await client.get(OUTPUT)
    marker = b"\n[muster: 85 bytes are not stored here]\n"
    assert answer.content == b"head\xff" + marker + b"tail\x00end!!"
    assert answer.headers["muster-size"] == "100"


async def test_output_of_a_run_that_goes_on_ends_where_it_is_now(here: World) -> None:
    """A download does not wait for a command that is still running."""
    here.scheduler.outputs = [
        Output(offset=0, data=b"so far", size=6, end=False),
        Output(offset=6, data=b"", size=6, end=False),
    ]
    async with here.client() as client:
        answer = await client.get(OUTPUT)
    assert answer.content == b"so far"
    assert answer.headers["muster-end"] == "false"


async def test_one_part_of_output_is_exact(here: World) -> None:
    """For programs: where it begins, how much there is, whether more follows."""
    here.scheduler.outputs = [Output(offset=90, data=b"tail\x00", size=95, end=True)]
    async with here.client() as client:
        answer = await client.get(OUTPUT, params={"offset": 5, "part": 1})
    assert answer.content == b"tail\x00"
    assert answer.headers["muster-offset"] == "90"
    assert answer.headers["muster-size"] == "95"
    assert answer.headers["muster-end"] == "true"
    assert here.scheduler.last(ReadOutput).offset == 5
