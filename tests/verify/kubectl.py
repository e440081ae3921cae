"""Runs kubectl as a shell would, with no cluster but the one that it is given."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_BIN = Path(sys.prefix) / "bin"


def kubectl(line: str, home: Path, *, folder: Path | None = None) -> str:
    """Run a command line of kubectl; returns what it prints.

    Args:
        line: For the shell.
        home: Where kubectl keeps what it remembers; a file `kubeconfig` there leads to the cluster.
        folder: Where to run it; by default at home.

    Raises:
        AssertionError: It failed; the message has what it said.
    """
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", line],
        cwd=folder or home,
        env={
            "PATH": f"{_BIN}:{os.environ['PATH']}",
            "HOME": str(home),
            "KUBECONFIG": str(home / "kubeconfig"),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"{line}: {done.stderr}")
    return done.stdout
