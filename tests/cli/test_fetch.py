"""Bringing files: whole or not at all, and never outside the folder."""

import os
from pathlib import Path

import pytest

from muster.cli.failures import Failure
from muster.cli.fetching import parts_of, store
from tests.cli.conftest import Muster
from tests.cli.stage import NOW, RUN, Stage

HOSTILE = [
    "../escape",
    "/etc/passwd",
    "a/../../escape",
    "a//b",
    "./a",
    "a/.",
    "..",
    "",
    "a/",
    "a\\..\\b",
    "a\nb",
    "a\x1bb",
    "a\x00b",
    "x" * 300,
    "\udcff",
]


@pytest.mark.parametrize("path", HOSTILE)
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    """Whatever a node tells."""
    with pytest.raises(Failure):
        parts_of(path)


@pytest.mark.parametrize("path", ["a", "a/b.txt", "..a", "报告/数据.csv", " a ", "-rf", "a:b", "~"])
def test_an_honest_path_is_kept(path: str) -> None:
    """Unusual names are names."""
    assert "/".join(parts_of(path)) == path


@pytest.mark.parametrize("link", ["leaf", "folder"])
def test_a_link_that_lies_there_is_not_followed(link: str, tmp_path: Path) -> None:
    """Neither as the file nor as a folder above it."""
    outside, to = tmp_path / "outside", tmp_path / "to"
    outside.mkdir()
    to.mkdir()
    (outside / "x").write_text("mine")
    (to / "a").symlink_to(outside / "x" if link == "leaf" else outside)
    parts = ["a"] if link == "leaf" else ["a", "x"]
    if link == "folder":
        with pytest.raises(Failure):
            store(to, parts, [b"theirs"], overwrite=True)
    else:
        store(to, parts, [b"theirs"], overwrite=True)  # replaces the link itself
        assert not (to / "a").is_symlink()
    assert (outside / "x").read_text() == "mine"


def test_a_file_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    """Half a file is never taken for a whole, and the old one stays."""
    (tmp_path / "a").write_text("old")

    def broken() -> object:
        yield b"half"
        raise Failure("cut")

    with pytest.raises(Failure, match="cut"):
        store(tmp_path, ["a"], broken(), overwrite=True)  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208
    assert (tmp_path / "a").read_text() == "old"


def _file(path: str, size: int = 3) -> dict[str, object]:
    return {"path": path, "size": size, "modified": NOW}


def test_files_are_listed_and_brought(stage: Stage, muster: Muster) -> None:
    """Into a folder of the run, one folder per node."""
    stage.starts("web1", "web2").happens("web1", "done")
    stage.contents = {"a/b.txt": b"abc", "c": bytes(range(256)) * 9000}
    stage.files["items"] = [_file("a/b.txt"), _file("c", 256 * 9000)]
    said = muster("runs", "files", RUN[:8], "web1", "-o", "name")
    assert said.text.split() == ["a/b.txt", "c"]
    said = muster("runs", "fetch", RUN, "web1")
    assert (said.code, said.told) == (0, "")
    assert said.text.split() == [f"{RUN}/web1/a/b.txt", f"{RUN}/web1/c"]
    assert (muster.home / RUN / "web1" / "c").read_bytes() == bytes(range(256)) * 9000
    again = muster("runs", "fetch", RUN, "web1", "a")
    assert again.code == 3
    assert "is there already" in again.told
    said = muster("runs", "fetch", RUN, "a", "--to", "there")
    assert said.text.split() == ["there/web1/a/b.txt", "there/web2/a/b.txt"]


def test_whole_outputs_are_brought(stage: Stage, muster: Muster) -> None:
    """Beside the folders of results, where no result can be."""
    stage.starts("web1")
    stage.files["outputs"] = [_file("stdout"), _file("stderr")]
    stage.contents = {"stdout": b"abc", "stderr": b"def"}
    said = muster("runs", "fetch", RUN, "web1", "--output", "--to", ".", "stdout")
    assert (said.code, said.text) == (0, "web1.stdout\n")
    assert (muster.home / "web1.stdout").read_bytes() == b"abc"


@pytest.mark.parametrize("path", ["../evil", "/tmp/evil", "a\x1b[2Jb"])  # noqa: S108
def test_a_hostile_listing_writes_nothing(path: str, stage: Stage, muster: Muster) -> None:
    """The others are brought, and the exit code says that something was wrong."""
    stage.starts("web1")
    stage.files["items"] = [_file(path), _file("good")]
    stage.contents = {path: b"bad", "good": b"abc"}
    said = muster("runs", "fetch", RUN, "--to", "here")
    assert said.code == 3
    assert "\x1b" not in said.told
    assert sorted(p.name for p in muster.home.rglob("*")) == [
        "context.json",
        "good",
        "here",
        "web1",
    ]


def test_a_download_that_is_cut_is_an_error(stage: Stage, muster: Muster) -> None:
    """And nothing is kept of it."""
    stage.starts("web1")
    stage.files["items"] = [_file("big", 1000)]
    stage.contents, stage.cut_downloads = {"big": bytes(1000)}, True
    said = muster("runs", "fetch", RUN)
    assert said.code == 3
    assert "broke off" in said.told
    assert [p.name for p in muster.home.rglob("*") if p.is_file()] == ["context.json"]


def test_nothing_to_fetch_is_said(stage: Stage, muster: Muster) -> None:
    """With the exit code of nothing."""
    stage.starts("web1")
    said = muster("runs", "fetch", RUN)
    assert (said.code, said.told) == (4, "muster: There is no such file.\n")
