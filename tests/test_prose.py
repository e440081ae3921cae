"""The check of spelling and wording finds what it is for, and is a part of `make check`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests import prose

if TYPE_CHECKING:
    from pathlib import Path

LONG = "The daemon " + "polls every target and " * 8 + "stops."


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The daemon tells whoever asks.", "whoever"),
        ("Nobody reads this.", "Nobody"),
        ("The daemon reads the file anew.", "anew"),
        ("The colour of a panel.", "colour ==> color"),
        ("The reciever answers.", "reciever ==> receiver"),
        ("Token 2 is none.", "'is none'"),
        ("The value is no address.", "'is no address'"),
        ("| key | it waits for ever |", "'for ever'"),
        (LONG, "a sentence of 35 words"),
    ],
)
def test_a_bad_sentence_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, found: str
) -> None:
    """Each kind of bad sentence ends the check with 1, and a line that names the place and the fault."""
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n\nA good sentence.\n\n{text}\n")
    assert prose.main([str(page)]) == 1
    (line, _) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{page}:5: ")
    assert found in line


def test_a_good_page_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Code, addresses and lists do not count as sentences."""
    page = tmp_path / "page.md"
    commands = "make all " * 40
    page.write_text(
        f"The daemon polls. Then `for ever` is code.\n\n- One [item](https://example.com/a-b).\n- Two.\n\n"
        f"```bash\n{commands}\n```\n\nThere is no leader.\n"
    )
    assert prose.main([str(page)]) == 0
    assert capsys.readouterr().out == "prose: 1 files, 0 faults\n"


@pytest.mark.parametrize(
    "text",
    [
        "# It waits for ever.\n",
        'def f():\n    """It waits for ever."""\n',
        'raise ValueError("waits for ever")\n',
    ],
    ids=["comment", "docstring", "message"],
)
def test_python_is_read(tmp_path: Path, text: str) -> None:
    """Of Python the rules see comments, docstrings and messages, but no names."""
    module = tmp_path / "module.py"
    module.write_text("waits_for_ever = 1\n" + text)
    (fault,) = prose.faults(module, prose.Rules.read())
    assert f"{module}:" in fault


def test_the_paths_exist() -> None:
    """Every path of the rules names a file, and the pages that users read are among them."""
    rules = prose.Rules.read()
    assert all(list(prose.ROOT.glob(path)) for path in rules.paths)
    checked = {str(path.relative_to(prose.ROOT)) for path in rules.files}
    pages = {f"docs/{path.name}" for path in (prose.ROOT / "docs").glob("*.md")}
    assert checked >= {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", *pages}


def test_make_check_runs_it() -> None:
    """A change that the check refuses does not pass `make check`."""
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (prose.ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe
    assert "-m tests.prose\n" in recipe[1]
