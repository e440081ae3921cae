"""Reads the documentation as its readers do: fenced blocks, commands, tables, headings and links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from typer.core import TyperGroup

from poller.cli import move_global_options_first
from poller.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("deploy/*/README.md"),
    ]
)

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (?P<text>.+)$", re.MULTILINE)
_INLINE_COMMAND = re.compile(r"`(?P<line>bedrock-poller [a-z][^`]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Every block in these languages, in all pages."""
    return [
        Block(page, text.count("\n", 0, match.start()) + 1, match["language"], _dedented(match))
        for page in PAGES
        for text in [page.read_text()]
        for match in _FENCE.finditer(text)
        if match["language"] in languages
    ]


def _dedented(match: re.Match[str]) -> str:
    return re.sub(f"^{match['indent']}", "", match["text"], flags=re.MULTILINE)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return [match["target"] for match in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page get."""
    return {
        re.sub(r"[^\w\- ]", "", match["text"].lower()).replace(" ", "-")
        for match in _HEADING.finditer(prose(page))
    }


def first_column(page: Path) -> list[str]:
    """The code at the beginning of each row of a page's tables."""
    return re.findall(r"^\| `([^`]+)` \|", page.read_text(), re.MULTILINE)


def row(page: Path, key: str) -> list[str]:
    """The cells of the table row that begins with `key`."""
    (line,) = {line for line in page.read_text().splitlines() if line.startswith(f"| `{key}` |")}
    return [cell.strip() for cell in line.strip("|").split("|")]


def commands(text: str) -> Iterator[list[str]]:
    """The words of each simple command of a shell script: without redirections, pipes cut apart."""
    text = re.sub(r"\\\n\s*", "", text)
    for line in text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for token in lexer:
            if set(token) <= set("|&;"):
                yield words
                words = []
            elif not set(token) <= set("<>"):
                words.append(token)
        if words:
            yield words


def inline_commands(page: Path) -> list[list[str]]:
    """The command lines of the program that stand in a page's prose, without placeholders in brackets."""
    return [shlex.split(match["line"]) for match in _INLINE_COMMAND.finditer(prose(page))]


def check_command_line(arguments: list[str]) -> str:
    """Parse a command line of the program; returns the command's name.

    Raises:
        Exception: There is no such command, or it takes no such options.
    """
    context = program.make_context("bedrock-poller", move_global_options_first(arguments))
    rest = [*context._protected_args, *context.args]
    command = program
    names: list[str] = []
    while isinstance(command, TyperGroup):
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        names.append(str(name))
        command = found
        context = command.make_context(name, list(rest), parent=context)
        rest = [*context._protected_args, *context.args]
    return " ".join(names)


def command_names(group: TyperGroup = program, prefix: str = "") -> Iterator[str]:  # type: ignore[assignment]
    """Every command there is, with its group: `sinks test`."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from command_names(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"
