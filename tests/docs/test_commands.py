"""The command lines in the documentation exist; tests/docs/test_scripts.py runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from poller.simulator import Simulator, SimulatorServer
from tests.docs.pages import (
    PAGES,
    ROOT,
    Block,
    blocks,
    check_command_line,
    command_names,
    commands,
    inline_commands,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELL = blocks("bash")
OURS = re.compile(r"(.*/)?bedrock-poller")
STRANGERS = frozenset(
    {
        "aws",
        "curl",
        "docker",
        "echo",
        "export",
        "gh",
        "helm",
        "install",
        "journalctl",
        "jq",
        "kill",
        "kubectl",
        "openssl",
        "pip",
        "pipx",
        "printf",
        "promtool",
        "python3",
        "sed",
        "sha256sum",
        "sqlite3",
        "sudo",
        "systemctl",
        "timedatectl",
        "uv",
    }
)
"""What else may stand at the beginning of a command; `make` and our own are checked."""


def _ours(words: list[str]) -> list[str] | None:
    """The arguments, if this is a command line of the program, with sudo or in a container or not."""
    for index, word in enumerate(words):
        if OURS.fullmatch(word) and (index == 0 or words[index - 1] in {"sudo", "--"}):
            return words[index + 1 :]
    return None


def _lines() -> Iterator[tuple[str, list[str]]]:
    for block in SHELL:
        for words in commands(block.text):
            yield str(block), words


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_shell_blocks_are_shell(block: Block) -> None:
    """Every block of shell commands can be parsed by bash."""
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("place", "words"), list(_lines()))
def test_commands_are_known(place: str, words: list[str]) -> None:
    """Every command is ours and can be parsed, a target of the Makefile, or one that readers have."""
    arguments = _ours(words)
    if arguments is not None:
        check_command_line(arguments)
    elif words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
        named = {word for word in words[1:] if "=" not in word}
        assert named
        assert named <= targets
    else:
        assert Path(words[0]).name in STRANGERS, f"{place}: {words[0]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_prose_exist(page: Path) -> None:
    """Command lines that stand in the text can be parsed as well."""
    for words in inline_commands(page):
        check_command_line(words[1:])


def test_readme_names_every_command() -> None:
    """The table of commands in the README is complete."""
    table = "\n".join(
        line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("| `")
    )
    for name in command_names():
        if name.endswith(" show"):
            assert f"`{name.removesuffix('show')}list" in table.replace("bedrock-poller ", "")
            assert "`show`" in table
        else:
            assert re.search(rf"`(bedrock-poller )?{name}\b", table), name


def test_the_simulator_takes_a_job_of_your_own(tmp_path: Path) -> None:
    """The AWS CLI command of docs/simulator.md starts a job, with the variables of the same page."""
    (start,) = [block.text for block in SHELL if "start-async-invoke" in block.text]
    (exports,) = [
        "\n".join(line for line in block.text.splitlines() if line.startswith("export AWS_"))
        for block in SHELL
        if block.page.name == "simulator.md" and "AWS_ACCESS_KEY_ID=any" in block.text
    ]
    simulator = Simulator()
    with SimulatorServer(simulator) as server:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            [
                "bash",
                "-euo",
                "pipefail",
                "-c",
                exports.replace("http://127.0.0.1:9478", server.url) + "\n" + start,
            ],
            env={"PATH": path, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    (job,) = simulator.jobs(region="us-east-1")
    assert json.loads(done.stdout) == {"invocationArn": job.arn}
