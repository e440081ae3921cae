"""The audit of the dependencies finds what it is there to find."""

from __future__ import annotations

from email.message import Message
from importlib.metadata import Distribution
from typing import TYPE_CHECKING, Any

import pytest

from tests import audit

if TYPE_CHECKING:
    from pathlib import Path

SHA = "--hash=sha256:" + "0" * 64


class Installed(Distribution):
    """A package that is not really installed."""

    def __init__(self, version: str = "1.0", *, direct_url: str | None = None, **metadata: Any) -> None:
        self._version = version
        self._direct_url = direct_url
        self._stated = metadata

    @property
    def version(self) -> str:
        """As given."""
        return self._version

    @property
    def metadata(self) -> Any:
        """As given."""
        message = Message()
        for name, value in self._stated.items():
            for each in value if isinstance(value, list) else [value]:
                message[name.replace("_", "-")] = each
        return message

    def read_text(self, filename: str) -> str | None:
        """Nothing but the address it came from."""
        return self._direct_url if filename == "direct_url.json" else None

    def locate_file(self, path: Any) -> Path:
        """There are no files."""
        raise NotImplementedError


def test_a_lock_in_order_has_no_problems() -> None:
    """Comments, continued lines and markers are understood."""
    text = (
        f"a==1.0 \\\n    {SHA} \\\n    {SHA}\n    # via b\nB.c==2 ; sys_platform == 'win32' \\\n    {SHA}\n"
    )
    locked, problems = audit.read_lock("lock", text)
    assert locked == [audit.Locked("a", "1.0", applies=True), audit.Locked("b-c", "2", applies=False)]
    assert problems == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("a==1.0", "no sha256"),
        ("a==1.0 --hash=md5:00", "no sha256"),
        (f"a==1.0 {SHA} --hash=sha256:zz", "no sha256"),
        (f"a>=1.0 {SHA}", "not pinned"),
        (f"a==1.* {SHA}", "not pinned"),
        (f"a {SHA}", "not pinned"),
        (f"a==1.0,<2 {SHA}", "not pinned"),
        (f"a @ https://h.example/a-1.0.whl {SHA}", "address of its own"),
        ("--index-url https://h.example/simple", "no pinned requirement"),
        ("--extra-index-url=https://h.example/simple", "no pinned requirement"),
        ("-e .", "no pinned requirement"),
    ],
)
def test_what_a_lock_must_not_have_is_found(line: str, says: str) -> None:
    """Whatever would let an installation take something else than what was resolved (fault 83)."""
    _, problems = audit.read_lock("lock", f"good==1 {SHA}\n{line}\n")
    assert problems
    assert all(problem.startswith("lock: ") for problem in problems)
    assert any(says in problem for problem in problems)


def test_what_is_installed_otherwise_is_found() -> None:
    """In another version, or not at all; what is for another platform need not be there."""
    locked = [audit.Locked("a", "1.0", True), audit.Locked("b", "2", True), audit.Locked("c", "3", False)]
    assert audit.differences("lock", locked, {"a": Installed("1.1")}) == [
        "lock: a is locked at 1.0, and 1.1 is installed",
        "lock: b is locked at 2, and nothing is installed",
    ]
    assert audit.differences("lock", locked[:1], {"a": Installed("1.0")}) == []


def test_what_comes_from_an_address_is_found() -> None:
    """Only our own package may, which is installed from its folder."""
    found = {"a": Installed(direct_url="{}"), "b": Installed(), "bedrock-poller": Installed(direct_url="{}")}
    assert audit.from_elsewhere(found) == ["a was installed from an address of its own"]


@pytest.mark.parametrize(
    ("metadata", "licence", "allowed"),
    [
        ({"License_Expression": "MIT"}, "MIT", True),
        ({"License_Expression": "Apache-2.0 AND MIT"}, "Apache-2.0 AND MIT", True),
        ({"License_Expression": "MIT OR GPL-3.0-only"}, "MIT OR GPL-3.0-only", True),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, "MIT AND GPL-3.0-only", False),
        ({"Classifier": ["Typing :: Typed", "License :: OSI Approved :: MIT License"]}, "MIT", True),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "License :: X"]}, "MIT AND X", False),
        ({"License": "Apache 2.0\nand more"}, "Apache-2.0", True),
        ({"License": "LGPL"}, "LGPL", False),
        ({}, "", False),
    ],
)
def test_licences_are_held_against_the_list(metadata: dict[str, Any], licence: str, allowed: bool) -> None:
    """However a package states its own; one that states none is not allowed."""
    assert audit.licence_of(Installed(**metadata)) == licence
    assert audit.is_allowed(licence) is allowed


def test_a_registry_in_a_file_is_found() -> None:
    """By its host, wherever in the file; longer names that only look alike are not meant."""
    host = audit.REGISTRIES[0]
    files = {
        "a.txt": f"x\nhttps://{host}/simple",
        "b.txt": f"https://files.{host}",
        "c.txt": f"no{host} {host}x",
    }
    assert audit.registries_in(files) == [f"a.txt:2 names {host}", f"b.txt:1 names {host}"]


def test_this_repository_names_none() -> None:
    """Everybody installs from the index or mirror that is theirs."""
    files = audit.committed()
    assert "tests/conftest.py" in files
    assert audit.registries_in(files) == []
