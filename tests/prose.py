"""Checks spelling and wording, offline: codespell with a word list of ours, and the rules of prose.toml.

    python -m tests.prose [FILE...]

codespell finds misspellings, British spellings and the words of `prose_words.txt`. The rules find phrases and
long sentences. Of Python they see comments, docstrings and other texts, of Markdown everything but code.
Without arguments, the paths in `prose.toml` are checked; add a path there when its files are clean.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
RULES = Path(__file__).with_name("prose.toml")
WORDS = Path(__file__).with_name("prose_words.txt")
NAMES = ("cancelled", "cancelling", "checkin", "coo", "te")
"""Names of libraries' functions, of a header and a sound, which codespell takes for misspellings."""

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`]*`")
_LINK = re.compile(r"\]\([^)]*\)")
_CELL = re.compile(r"(?<!\\)\|")
_ITEM = re.compile(r" *(?:[-*]|\d+\.|#+) +")
_SENTENCE = re.compile(r"(?<=[.!?:;])[*_)\]]*\s+")
_WORD = re.compile(r"\w[\w'-]*")


@dataclass(frozen=True)
class Rules:
    """What `prose.toml` holds."""

    paths: tuple[str, ...]
    longest: int
    """Words in a sentence."""
    phrases: tuple[tuple[re.Pattern[str], str], ...]
    """What must not be written, and what to write instead."""

    @classmethod
    def read(cls) -> Rules:
        """The rules of the file."""
        found = tomllib.loads(RULES.read_text())
        phrases = tuple((re.compile(rule["pattern"]), rule["instead"]) for rule in found["phrases"])
        return cls(tuple(found["paths"]), found["longest_sentence"], phrases)

    @property
    def files(self) -> list[Path]:
        """Every file that the paths name."""
        found = [path for pattern in self.paths for path in sorted(ROOT.glob(pattern))]
        return [file for path in found for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]


def paragraphs(path: Path) -> Iterator[tuple[int, str]]:
    """The texts of a file, each with the line on which it begins."""
    text = path.read_text()
    yield from _of_python(text) if path.suffix == ".py" else _of_markdown(text)


def _of_markdown(text: str) -> Iterator[tuple[int, str]]:
    text = _FENCE.sub(lambda block: "\n" * block[0].count("\n"), text)
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        begins = not line.strip() or line.startswith("|") or _ITEM.match(line)
        if begins and lines:
            yield start, " ".join(lines)
            lines = []
        if line.startswith("|"):
            yield from ((number, cell.strip()) for cell in _CELL.split(line) if cell.strip())
        elif line.strip():
            start = start if lines else number
            lines.append(_ITEM.sub("", line, count=1).strip() if not lines else line.strip())


def _of_python(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for part in re.finditer(r"(?:.+\n?)+", node.value):
                yield node.lineno + node.value.count("\n", 0, part.start()), " ".join(part[0].split())


def faults(path: Path, rules: Rules) -> Iterator[str]:
    """What the rules have against a file, a line each."""
    for number, text in paragraphs(path):
        plain = _LINK.sub("]", _CODE.sub("code", text))
        for pattern, instead in rules.phrases:
            for match in pattern.finditer(plain):
                yield f"{path}:{number}: '{match[0]}': {instead}"
        for sentence in _SENTENCE.split(plain) if path.suffix == ".md" else ():
            if (count := len(_WORD.findall(sentence))) > rules.longest:
                yield f"{path}:{number}: a sentence of {count} words: '{sentence[:60]}'; divide it"


def misspelled(files: Sequence[Path]) -> list[str]:
    """What codespell finds, a line each."""
    options = ["--builtin", "clear,rare,en-GB_to_en-US", "--dictionary", "-", "--dictionary", str(WORDS)]
    options += ["--ignore-words-list", ",".join(NAMES)]
    done = subprocess.run(
        [sys.executable, "-m", "codespell_lib", *options, *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.stderr:
        raise RuntimeError(done.stderr)
    return done.stdout.splitlines()


def main(arguments: Sequence[str]) -> int:
    """Check the files; print each fault, and return 1 if there is one."""
    rules = Rules.read()
    files = [Path(argument) for argument in arguments] or rules.files
    found = [*misspelled(files), *(fault for path in files for fault in faults(path, rules))]
    for line in found:
        sys.stdout.write(line.removeprefix(f"{ROOT}/") + "\n")
    sys.stdout.write(f"prose: {len(files)} files, {len(found)} faults\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
