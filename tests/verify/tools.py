"""Finds the tools that the checks need, or fetches them into `.venv/tools`, without touching the system.

What is on PATH is taken. What is not comes from the package of the Linux distribution: `apt-get download` and
`dpkg -x` need no root, and what they unpack starts no service. Lists of packages are fetched, if there are
none, into the same folder. What is made for Node.js comes by npm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CACHE = Path(sys.prefix) / "tools"
_SECONDS = 300


class MissingError(RuntimeError):
    """A tool is not here and cannot be had; the message says what was tried, and what would help."""


def promtool() -> Path:
    """Prometheus' own tool, which checks rules, tests them and lints metrics."""
    return debian("prometheus", "promtool")


def prometheus() -> Path:
    """The Prometheus server."""
    return debian("prometheus", "prometheus")


def debian(package: str, program: str) -> Path:
    """A program of a Debian package: from PATH, or unpacked into the cache.

    Raises:
        MissingError: It is neither here nor to be had.
    """
    found = shutil.which(program)
    if found:
        return Path(found)
    folder = CACHE / package
    unpacked = folder / "usr" / "bin" / program
    if not unpacked.exists():
        missing = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
        if missing:
            raise MissingError(
                f"{program} is not on PATH, and {' and '.join(missing)} to fetch it with neither; install it"
                " by the means of your system"
            )
        _fetch(package, folder)
    if not unpacked.exists():
        raise MissingError(f"the package {package} has no {program}; install it by the means of your system")
    return unpacked


def npm(*packages: str) -> Path:
    """The `node_modules` with these packages, such as `typescript@7.0.2`, kept in the cache.

    Raises:
        MissingError: Node.js is not here, or the packages are not to be had.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingError("node and npm are not on PATH; install Node.js by the means of your system")
    folder = CACHE / "npm" / "-".join(re.sub(r"\W+", "-", package).strip("-") for package in packages)
    if not (folder / "node_modules").exists():
        work = folder.with_name(f"{folder.name}.{os.getpid()}")
        work.mkdir(parents=True)
        try:
            (work / "package.json").write_text('{"private": true}\n')
            # No package needs to run anything of its own to be installed.
            _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *packages], work)
            shutil.rmtree(folder, ignore_errors=True)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder / "node_modules"


def _fetch(package: str, folder: Path) -> None:
    """Download a package and unpack it; the folder appears at once and whole, or not at all."""
    state = CACHE / "apt"
    (state / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (state / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    own = [
        "-q",
        "-o",
        "APT::Sandbox::User=",  # as root, it would otherwise change to a user who cannot write here
        "-o",
        f"Dir::State::lists={state / 'lists'}",
        "-o",
        f"Dir::Cache={state}",
    ]
    work = CACHE / f"{package}.{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    (work / "root").mkdir(parents=True)
    try:
        try:
            _run(["apt-get", "-q", "-o", "APT::Sandbox::User=", "download", package], work)
        except MissingError:
            _run(["apt-get", *own, "update"], work)
            _run(["apt-get", *own, "download", package], work)
        (archive,) = work.glob("*.deb")
        _run(["dpkg", "-x", str(archive), str(work / "root")], work)
        shutil.rmtree(folder, ignore_errors=True)
        (work / "root").rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines()
        raise MissingError(f"`{' '.join(command)}` failed: {said[-1] if said else error}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingError(f"`{' '.join(command)}` failed: {error}") from error


def main() -> int:
    """Find or fetch them all, and say where they are."""
    try:
        for found in (promtool(), prometheus()):
            sys.stdout.write(f"{found}\n")
    except MissingError as error:
        sys.stderr.write(f"tools: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
