"""The YAML file: lines, limits, and the surprises of YAML."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from poller.settings.yaml_loader import read_document
from tests.settings.samples import load_text, problems_in, problems_of

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-77aa"


def read(directory: Path, text: str) -> Any:
    """The data of a file that has no problems."""
    path = directory / "config.yaml"
    path.write_text(text)
    document = read_document(path)
    assert document.problems == []
    return document.data


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment\n", "---\n", "{}", "\ufeffpoll:\n"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    """A file of nothing, of comments, or with an empty section is a valid one."""
    assert load_text(tmp_path, text).poll.concurrency == 8


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-1", -1),
        ("1.5", 1.5),
        (".5e1", 5.0),
        ("12:30", "12:30"),
        ("2026-01-01", "2026-01-01"),
        ("012345678901", "012345678901"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("9" * 5000, "9" * 5000),
        (".inf", ".inf"),
        ('"12"', "12"),
        ("!!str 12", "12"),
    ],
)
def test_plain_words_are_what_yaml_1_2_says(tmp_path: Path, written: str, value: object) -> None:
    """Country codes, times, dates and account numbers are text."""
    assert read(tmp_path, f"key: {written}")["key"] == value


def test_anchors_and_merge_keys_work(tmp_path: Path) -> None:
    """What several sinks share can be written once; a key of their own goes before it."""
    text = """
a: &a {x: 1, y: 1}
b: &b {y: 2, z: 2}
c:
  <<: *a
  y: 3
d:
  <<: [*b, *a]
e: *a
"""
    data = read(tmp_path, text)
    assert data["c"] == {"x": 1, "y": 3}
    assert data["d"] == {"x": 1, "y": 2, "z": 2}
    assert data["e"] == data["a"]


def test_a_mistake_in_a_merged_mapping_has_a_line(tmp_path: Path) -> None:
    """It is reported where the merge stands."""
    text = "sinks:\n  a: &a\n    type: log\n    timeout: 1\n  b:\n    <<: *a\n"
    found = problems_in(tmp_path, text)
    assert [(problem.where, problem.line) for problem in found] == [
        ("sinks.a.timeout", 4),
        ("sinks.b.timeout", 6),
    ]


@pytest.mark.parametrize(
    ("text", "line", "where", "words"),
    [
        ("poll:\n\tinterval: 30s", 2, "", "tab"),
        ("poll: {interval: 30s", 1, "", "not valid YAML"),
        ("a: 1\nb: 'x\n", 3, "", "not valid YAML"),
        ("- a\n- b", 1, "", "must hold keys with values"),
        ("just text", 1, "", "must hold keys with values"),
        ("poll: {}\n---\nweb: {}", 2, "", "several documents"),
        (f"x:\n  y: *{CANARY}", 2, "", "starts with *"),
        (f"x: &{CANARY} 1\ny: &{CANARY} 2", 2, "", "same anchor"),
        (f"x: !{CANARY}!y z", 1, "", "starts with !"),
        (f"log:\n  level: !{CANARY} z", 2, "log.level", "starts with !"),
        ("log:\n  level: !!binary aGk=", 2, "log.level", "starts with !"),
        ("log:\n  level: !!int x", 2, "log.level", "starts with !"),
        ("log:\n  level: !!bool x", 2, "log.level", "starts with !"),
        ("log: !!set {a, b}", 1, "log", "starts with !"),
        ("poll: {}\n1: x", 2, "?", "put quotes around the key"),
        ("? [a]\n: x", 1, "?", "put quotes around the key"),
        ("poll:\n  <<: text", 2, "poll", "must name an anchored mapping"),
        ("a: \x07", 1, "", "control character"),
        (f"x: @{CANARY}", 1, "", "not valid YAML"),
        (f'x: "\\{CANARY}"', 1, "", "not valid YAML"),
    ],
)
def test_broken_yaml_is_reported_with_its_line(
    tmp_path: Path, text: str, line: int, where: str, words: str
) -> None:
    """What YAML itself cannot read is explained without quoting the file."""
    (problem, *_) = [each for each in problems_in(tmp_path, text) if words in each.what]
    assert problem.line == line
    assert where in problem.where
    assert CANARY not in str(problem)


def test_a_key_that_is_set_twice_is_reported_with_both_lines(tmp_path: Path) -> None:
    """The later one does not silently win."""
    text = "poll:\n  interval: 1s\n  overlap: 1m\n  interval: 2s\n"
    (problem,) = problems_in(tmp_path, text)
    assert (problem.where, problem.line) == ("poll.interval", 4)
    assert "lines 2 and 4" in problem.what


def _bomb(first: str, of_aliases: str, levels: int = 40) -> str:
    """Each line refers nine times to the one before."""
    lines = [f"a{n}: &a{n} {of_aliases % ', '.join([f'*a{n - 1}'] * 9)}" for n in range(1, levels)]
    return "\n".join([f"a0: &a0 {first}", *lines])


@pytest.mark.parametrize(
    "text",
    [
        _bomb("[x]", "[%s]"),
        _bomb("{k: 1}", "{<<: [%s]}"),
        "a: &a [*a]",
        "a: &a {<<: *a}",
        "[" * 500_000,
        "{a: " * 200,
        "- " * 500,
    ],
    ids=["aliases", "merges", "loop", "merge-loop", "brackets", "braces", "dashes"],
)
def test_a_yaml_bomb_is_refused(tmp_path: Path, text: str) -> None:
    """A small file that would become a huge or endless structure is given up long before it is one.

    Injects fault 42.
    """
    (problem,) = problems_in(tmp_path, text)
    assert "100000 values or 100 levels" in problem.what
    assert problem.line is not None


def test_a_long_list_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are counted whether they are nested or not."""
    monkeypatch.setattr("poller.settings.yaml_loader._MOST_NODES", 1000)
    (problem,) = problems_in(tmp_path, "[" + "1," * 1001 + "]")
    assert "levels, aliases expanded" in problem.what


def test_a_file_of_100_mb_is_refused_without_reading_it(tmp_path: Path) -> None:
    """The size alone is enough to know (fault 42)."""
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    (problem,) = problems_of(path)
    assert "larger than 1 MiB" in problem.what


def test_an_endless_device_is_refused() -> None:
    """What does not tell its size is read up to the limit, no further."""
    from pathlib import Path

    (problem,) = problems_of(Path("/dev/zero"))
    assert "larger than 1 MiB" in problem.what


def test_a_file_that_is_not_utf_8_is_refused_with_the_line(tmp_path: Path) -> None:
    """The line of the first wrong byte is named, and nothing of the file is shown."""
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"# " + CANARY.encode() + b"\n# caf\xe9\n")
    (problem,) = problems_of(path)
    assert (problem.file, problem.line) == (str(path), 2)
    assert "not UTF-8" in problem.what


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere.yaml", "No such file"), (".", "Is a directory"), ("a\0b", "NUL")],
)
def test_a_path_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    """A missing file is a problem, not an empty configuration."""
    (problem,) = problems_of(tmp_path / name)
    assert words in problem.what
    assert problem.file == str(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(tmp_path: Path) -> None:
    """The system's reason is part of the message."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0)
    (problem,) = problems_of(path)
    assert "Permission denied" in problem.what
