"""The database's address."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from poller.settings.schema import StoreSettings
from poller.settings.store_url import default_url, unverified_host
from tests.settings.samples import load_file, problems_of


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/bp:/var/lib/more", "HOME": "/h"}, "/var/lib/bp/poller.db"),
        ({"XDG_STATE_HOME": "/state", "HOME": "/h"}, "/state/bedrock-poller/poller.db"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/bedrock-poller/poller.db"),
        ({"HOME": "/h"}, "/h/.local/state/bedrock-poller/poller.db"),
    ],
)
def test_the_default_database_lies_where_state_belongs(environ: dict[str, str], path: str) -> None:
    """The directory of systemd goes before that of XDG, which goes before the home directory."""
    assert default_url(environ).get_secret_value() == f"sqlite:///{path}"


def test_the_environment_given_decides_about_the_default() -> None:
    """Loading looks at the environment it was handed, not at the process's own."""
    settings = load_file(None, STATE_DIRECTORY="/var/lib/bp")
    assert settings.store.url.get_secret_value() == "sqlite:////var/lib/bp/poller.db"


def test_without_a_home_the_address_must_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no guess when there is nothing to guess from; other problems are still reported."""
    monkeypatch.setattr("pathlib.Path.expanduser", lambda _path: Path("~"))
    found = problems_of(None, HOME="", BEDROCK_POLLER_AWS__MAX_ATTEMPTS="0")
    assert [problem.where for problem in found] == ["aws.max_attempts", "store.url"]
    assert "no home directory" in found[1].what


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///relative.db",
        "sqlite:////a/b.db",
        "postgresql://u:p@h:5432/db",
        "postgresql+psycopg://u@h/db?sslmode=require",
        "postgresql:///db?host=/run/postgresql",
    ],
)
def test_sqlite_and_postgresql_are_accepted(url: str) -> None:
    """The two databases it is tested with."""
    assert StoreSettings.model_validate({"url": url}).url.get_secret_value() == url


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://u:canary-pw@h/db", "not the address of a supported database"),
        ("postgres://u:canary-pw@h/db", "postgresql://"),
        ("canary-pw", "sqlite:///"),
        ("postgresql://u:canary-pw@h:port/db", "%-encode"),
        ("postgresql://u:canary-pw:@@h:x:/db", "%-encode"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
    ],
)
def test_other_addresses_are_refused_without_showing_them(url: str, words: str) -> None:
    """An address may hold a password, so the message only says what would be right."""
    (problem,) = problems_of(None, BEDROCK_POLLER_STORE__URL=url)
    assert problem.where == "store.url"
    assert words in problem.what
    assert "canary-pw" not in str(problem)


def test_what_is_shown_of_an_address_has_no_password() -> None:
    """Neither in front of the host nor among the options."""
    url = SecretStr("postgresql://u:canary-pw@h/db?password=canary-pw")
    store = StoreSettings(url=url)
    assert store.display_url == "postgresql://u:***@h/db"
    assert "canary-pw" not in repr(store)


def test_sections_can_be_made_without_loading() -> None:
    """In a program, the default address follows the process's environment."""
    assert StoreSettings().url.get_secret_value().startswith("sqlite:///")


def test_a_password_comes_from_its_file_as_it_is_now(tmp_path: Path) -> None:
    """It is read when a connection is made, not when the configuration is."""
    file = tmp_path / "password"
    file.write_text("first\n")
    store = load_file(
        None,
        BEDROCK_POLLER_STORE__URL="postgresql://u@h/db",
        BEDROCK_POLLER_STORE__PASSWORD_FILE=str(file),
    ).store
    assert store.read_password() == "first"
    file.write_text("second\n")
    assert store.read_password() == "second"
    file.unlink()
    with pytest.raises(ValueError, match="cannot read"):
        store.read_password()


def test_without_a_file_there_is_no_password() -> None:
    """The driver finds its own, or needs none."""
    assert StoreSettings().read_password() is None


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite:////a/b.db", "is for PostgreSQL"),
        ("postgresql://u:canary-pw@h/db", "keep one of them"),
        ("postgresql://u@h/db?password=canary-pw", "keep one of them"),
    ],
)
def test_a_password_that_has_no_place_is_refused(tmp_path: Path, url: str, words: str) -> None:
    """A file that would never be read, or that contradicts the address."""
    file = tmp_path / "password"
    file.write_text("canary-pw\n")
    (problem,) = problems_of(
        None, BEDROCK_POLLER_STORE__URL=url, BEDROCK_POLLER_STORE__PASSWORD_FILE=str(file)
    )
    assert problem.where == "store.password_file"
    assert words in problem.what
    assert "canary-pw" not in str(problem)


@pytest.mark.parametrize(
    ("url", "environ", "host"),
    [
        ("postgresql://u@db.example.com/x", {}, "db.example.com"),
        ("postgresql://u@db.example.com/x?sslmode=require", {}, "db.example.com"),
        ("postgresql://u@db.example.com/x?sslmode=verify-full", {}, None),
        ("postgresql://u@db.example.com/x", {"PGSSLMODE": "verify-full"}, None),
        ("postgresql://u@/x?host=db.example.com", {}, "db.example.com"),
        ("postgresql://u@/x", {"PGHOST": "10.0.0.1"}, "10.0.0.1"),
        ("postgresql://u@/x", {}, None),
        ("postgresql://u@/x?host=/run/postgresql", {}, None),
        ("postgresql://u@127.0.0.1/x", {}, None),
        ("postgresql://u@[::1]/x", {}, None),
        ("postgresql://u@localhost/x", {}, None),
        ("sqlite:////x.db", {"PGHOST": "10.0.0.1"}, None),
    ],
)
def test_a_server_on_a_network_that_nothing_verifies_is_named(
    url: str, environ: dict[str, str], host: str | None
) -> None:
    """Only `verify-full` sees to it that the password goes to the server (fault 80)."""
    assert unverified_host(SecretStr(url), environ) == host


def test_an_address_with_a_placeholder_is_refused() -> None:
    """A password that a template was to fill in (fault 80)."""
    with pytest.raises(ValidationError, match="PASSWORD}, which nothing replaces here"):
        StoreSettings.model_validate({"url": "postgresql://u:${PASSWORD}@db/x"})
