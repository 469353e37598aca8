"""Settings come from four places, say from which, and mistakes are named."""

import logging
from pathlib import Path

import pytest
from pydantic import Field, SecretStr

from muster.kit.settings import (
    DEFAULT,
    GIVEN,
    MASK,
    BadSettingsError,
    Settings,
    describe,
    load,
    variable,
    warn_of_sections,
)


class Cellar(Settings):
    """Where the bottles are."""

    port: int = Field(8080, ge=1, le=65535, description="where it listens")
    urls: list[str] = Field(["nats://127.0.0.1:4222"])
    extra: list[str] | None = None
    ca: Path | None = None
    quiet: bool = False
    database: str = "sqlite:///a.db"
    password: SecretStr = SecretStr("")


class Strict(Settings):
    """Nothing has a default."""

    data_dir: Path = Field(description="where everything is kept")


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """Name a file that is not there yet."""
    return tmp_path / "muster.toml"


def test_the_nearest_place_wins(toml: Path) -> None:
    """Given directly, then the environment, then the file, then the default."""
    toml.write_text('[cellar]\nport = 1\nquiet = true\nca = "/x"\n[other]\nport = 9\n')
    env = {"MUSTER_CELLAR_PORT": "2", "MUSTER_CELLAR_QUIET": "false", "MUSTER_OTHER_PORT": "x"}
    settings, origins = load(Cellar, "cellar", toml=toml, env=env, given={"port": 3})
    assert (settings.port, settings.quiet, settings.ca) == (3, False, Path("/x"))
    assert settings.urls == ["nats://127.0.0.1:4222"]
    assert origins == {
        "port": GIVEN,
        "quiet": "MUSTER_CELLAR_QUIET",
        "ca": f"{toml} [cellar] ca",
        "urls": DEFAULT,
        "extra": DEFAULT,
        "database": DEFAULT,
        "password": DEFAULT,
    }


def test_a_missing_file_is_empty(toml: Path) -> None:
    """Nobody needs a file."""
    assert load(Cellar, "cellar", toml=toml, env={}).settings == Cellar()


@pytest.mark.parametrize(
    ("text", "urls"),
    [("a, b,", ["a", "b"]), ('["a,b"]', ["a,b"]), ("a", ["a"]), ("", [])],
)
def test_lists_in_the_environment(text: str, urls: list[str]) -> None:
    """Separated by commas, or JSON."""
    env = {"MUSTER_CELLAR_URLS": text, "MUSTER_CELLAR_EXTRA": text}
    settings = load(Cellar, "cellar", env=env).settings
    assert (settings.urls, settings.extra) == (urls, urls)


def test_an_empty_variable_unsets() -> None:
    """`MUSTER_CELLAR_CA=` means: none."""
    settings, origins = load(Cellar, "cellar", env={"MUSTER_CELLAR_CA": ""})
    assert settings.ca is None
    assert origins["ca"] == "MUSTER_CELLAR_CA"


def test_a_bad_variable_is_named_with_what_is_allowed() -> None:
    """The message names the variable, the value, the rule and the meaning."""
    with pytest.raises(BadSettingsError) as caught:
        load(Cellar, "cellar", env={"MUSTER_CELLAR_PORT": "99999", "MUSTER_CELLAR_QUIET": "\x1b"})
    port, quiet = str(caught.value).splitlines()
    assert port.startswith("MUSTER_CELLAR_PORT: '99999' is not allowed: Input should be less than")
    assert port.endswith("or equal to 65535 (where it listens)")
    assert quiet.startswith(r"MUSTER_CELLAR_QUIET: '\\x1b' is not allowed: Input should be a valid")


def test_a_bad_key_is_named_with_its_file(toml: Path) -> None:
    """The message says in which file and section to look."""
    toml.write_text('[cellar]\nport = "many"\n')
    with pytest.raises(BadSettingsError, match=r"muster\.toml \[cellar\] port: 'many' is not"):
        load(Cellar, "cellar", toml=toml, env={})


def test_a_missing_setting_says_how_to_give_it() -> None:
    """The variable is named."""
    expected = r"MUSTER_CELLAR_DATA_DIR is not set \(where everything is kept\)"
    with pytest.raises(BadSettingsError, match=expected):
        load(Strict, "cellar", env={})


@pytest.mark.parametrize("text", ["[cellar\n", "cellar = 1", "\xff"])
def test_a_broken_file_is_named(toml: Path, text: str) -> None:
    """A syntax error says where it is."""
    toml.write_bytes(text.encode("latin-1"))
    with pytest.raises(BadSettingsError, match=r"muster\.toml"):
        load(Cellar, "cellar", toml=toml, env={})


def test_a_bad_secret_is_not_shown() -> None:
    """Not even in the error."""
    with pytest.raises(BadSettingsError) as caught:
        load(Cellar, "cellar", env={}, given={"password": ["hunter2"]})
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_unknown_names_are_warned_about(toml: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A typing mistake does not pass silently, and the right name is offered."""
    toml.write_text("[cellar]\nprot = 1\n[celar]\n")
    env = {"MUSTER_CELLAR_PROT": "1", "MUSTER_CELLAR_ZZZ": "1", "MUSTER_DATA_DIR": "x"}
    with caplog.at_level(logging.WARNING):
        load(Cellar, "cellar", toml=toml, env=env)
        warn_of_sections(toml, ["cellar", "registry"])
    assert caplog.messages == [
        f"{toml}: [cellar] has no setting prot: did you mean port?",
        "there is no setting MUSTER_CELLAR_PROT: did you mean MUSTER_CELLAR_PORT?",
        "there is no setting MUSTER_CELLAR_ZZZ",
        f"{toml}: nothing is called [celar]: did you mean cellar?",
    ]


def test_everything_can_be_shown_but_secrets() -> None:
    """Name, value, origin and help of each; a password in a URL is masked too."""
    env = {
        "MUSTER_CELLAR_PASSWORD": "hunter2",
        "MUSTER_CELLAR_DATABASE": "postgresql://muster:hunter2@db/x",
    }
    rows = {row.name: row for row in describe(load(Cellar, "cellar", env=env), "cellar")}
    assert rows["cellar.port"] == ("cellar.port", "8080", DEFAULT, "where it listens")
    assert rows["cellar.password"].value == MASK
    assert rows["cellar.password"].origin == "MUSTER_CELLAR_PASSWORD"
    assert rows["cellar.database"].value == f"postgresql://muster:{MASK}@db/x"
    assert "hunter2" not in str(rows)


def test_a_section_may_have_a_dash() -> None:
    """Variables have none."""
    assert variable("data-port", "max_size") == "MUSTER_DATA_PORT_MAX_SIZE"
