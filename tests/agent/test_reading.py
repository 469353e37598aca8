"""Looking at the files of a run."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from muster.agent import reading
from muster.agent.jobs import Job
from muster.contracts.errors import Denied, Expired, Malformed, MusterError, NotFound
from muster.contracts.names import new_id
from muster.contracts.runs import FilePart, Read, ReadAsk, ResultFiles
from muster.kit import wire
from tests.agent.stage import Process, Server


async def test_results_and_outputs_are_listed_and_read(server: Server, agent: Process) -> None:
    """Every regular file with its size; the full outputs as long as the node has them."""
    del agent
    run = await server.start(
        'cd "$MUSTER_RESULTS"; mkdir -p a/b; echo one > a/b/one; head -c 2000000 /dev/zero > big; '
        "ln -s /etc/passwd link; mkfifo pipe; ln -s a also; echo said"
    )
    await server.final(run)
    listed = await server.read(run)
    assert isinstance(listed, ResultFiles)
    assert [(one.path, one.size) for one in listed.items] == [("a/b/one", 4), ("big", 2_000_000)]
    assert [(one.path, one.size) for one in listed.outputs] == [("stdout", 5), ("stderr", 0)]
    assert not listed.truncated
    part = await server.read(run, "big", offset=1_999_990)
    assert part == FilePart(data=b"\0" * 10, size=2_000_000)
    assert await server.read(run, "a/b/one") == FilePart(data=b"one\n", size=4)
    assert await server.read(run, "stdout", output=True) == FilePart(data=b"said\n", size=5)
    whole = await server.read(run, "big")
    assert isinstance(whole, FilePart)
    assert len(whole.data) == 512 * 1024


async def test_only_a_valid_order_to_read_opens_anything(server: Server, agent: Process) -> None:
    """An order to run, an expired one, one of another node or key: refused, with the reason."""
    del agent
    run = await server.start("true")
    await server.final(run)
    subject = f"muster.cmd.{server.node}.read"

    async def ask(command: bytes) -> None:
        question = ReadAsk(command=command)
        await server.bus.request(subject, wire.pack(question), timeout=10, patience=0)

    with pytest.raises(Denied):
        await ask(server.sign("run", run, Read()))
    with pytest.raises(Denied):
        await ask(server.sign("read", run, Read(), node="naaaaaaaaaaaaaaaa"))
    with pytest.raises(Denied):
        await ask(b"garbage")
    past = datetime.now(UTC) - timedelta(seconds=1)
    with pytest.raises(Expired):
        await ask(server.sign("read", run, Read(), expires=past))
    with pytest.raises(NotFound):
        await ask(server.sign("read", new_id(), Read()))
    with pytest.raises(Malformed):
        await server.bus.request(subject, b"{}", timeout=10, patience=0)
    await ask(server.sign("read", run, Read()))


@pytest.fixture
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Lay out a job whose command was evil."""
    path = tmp_path_factory.mktemp("jobs") / new_id()
    job = Job(path, path)
    job.results.mkdir(parents=True)
    (job.path / "stdout").write_text("out")
    (job.path / "spec").write_text("secret")
    (job.path.parent / "identity.json").write_text("secret")
    results = job.results
    (results / "good").write_text("good")
    (results / "deep").mkdir()
    (results / "deep" / "good").write_text("good")
    (results / "link").symlink_to("/etc/passwd")
    (results / "inside").symlink_to("good")
    (results / "up").symlink_to("..")
    (results / "root").symlink_to("/")
    (results / "loop").symlink_to("loop")
    os.mkfifo(results / "pipe")
    return job


_STEPS = ["..", ".", "", "up", "root", "link", "inside", "loop", "pipe", "deep", "good", "\0"]
_ENDS = ["spec", "etc/passwd", "../spec", "../../identity.json", "stdout", "good/x", "", "..", "."]
TRAVERSALS = sorted(
    {
        *(f"{step}/{end}" for step in _STEPS for end in _ENDS),
        *_STEPS,
        *(f"/{end}" for end in _ENDS),
        *("../" * n + "etc/passwd" for n in range(1, 12)),
        *("up/" * n + "identity.json" for n in range(1, 8)),
        *(f"deep/{'../' * n}spec" for n in range(1, 6)),
        *(
            f"{quote}/spec"
            for quote in ("%2e%2e", "..%2f..", "\uff0e\uff0e", "..\\..", "..;", "\u2026", "%c0%ae")
        ),
        "good/",
        "good\0",
        "good/../../spec",
        "a/" * 2000 + "x",
        "x" * 300,
        "\udcff",
        "deep//good",
        "./good",
        "//etc/passwd",
        "C:\\",
        "file:///etc/passwd",
        "~/.ssh/id_ed25519",
        "CON",
        "good ",
        " good",
        "GOOD",
    }
    - {"good", "deep/good", ""}
)


@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_path_leads_out_of_the_results(job: Job, path: str) -> None:
    """Nothing but a regular file inside, named by its plain path, is ever opened."""
    try:
        ask = ReadAsk.model_construct(command=b"", path=path, output=False, offset=0, limit=100)
        found = reading.answer(job, ask)
    except MusterError:
        return
    pytest.fail(f"{path!r} gave {found!r}")


def test_there_are_enough_of_them() -> None:
    """The corpus does not shrink by accident."""
    assert len(TRAVERSALS) > 150


@pytest.mark.parametrize("path", ["spec", "../spec", "stdin", "started.json", "", "stdout/x"])
def test_an_output_is_one_of_two(job: Job, path: str) -> None:
    """``output`` opens stdout and stderr, and nothing else."""
    ask = ReadAsk(command=b"", path=path or "x", output=True)
    with pytest.raises(MusterError):
        reading.answer(job, ask)


def test_the_folders_themselves_may_be_replaced(job: Job) -> None:
    """A command can put a link where its result folder was; it is not followed."""
    job.results.rename(job.path / "moved")
    job.results.symlink_to("/etc")
    (job.path / "stdout").unlink()
    (job.path / "stdout").symlink_to("/etc/passwd")
    assert reading.listing(job) == ResultFiles()
    for ask in (
        ReadAsk(command=b"", path="passwd"),
        ReadAsk(command=b"", path="stdout", output=True),
    ):
        with pytest.raises(NotFound):
            reading.answer(job, ask)


def test_a_list_stays_small_enough_for_a_message(job: Job) -> None:
    """Ten thousand files, or fewer with long names; the answer says that there are more."""
    for number in range(10_050):
        (job.results / f"{number:05}").touch()
    listed = reading.listing(job)
    assert listed.truncated
    assert len(wire.pack(listed)) < 1_000_000
    assert len(listed.items) > 5000
    for number in range(400):
        folder = job.results / ("\x01" * 200) / f"{number:0200}"
        folder.mkdir(parents=True, exist_ok=True)
        for inner in range(20):
            (folder / f"{inner:0200}").touch()
    listed = reading.listing(job)
    assert listed.truncated
    assert len(wire.pack(listed)) < 1_000_000


def test_names_that_are_no_text_are_left_out(job: Job) -> None:
    """They cannot be asked for; nothing breaks by them."""
    os.close(os.open(os.fsencode(job.results) + b"/\xff", os.O_CREAT))
    os.makedirs(os.fsencode(job.results) + b"/\xfe")  # noqa: PTH103  # a Path holds no bytes
    listed = reading.listing(job)
    assert {one.path for one in listed.items} == {"good", "deep/good"}
    wire.pack(listed)
