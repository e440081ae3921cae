"""Writes the software bill of materials, in CycloneDX and without a network; `make sbom` runs it.

What is described is what runs in the image: the locked dependencies of the program and of PostgreSQL's
driver, as they are installed here, with licences and who depends on whom. The environment holds development
tools as well, so what these locks do not name is left out, and what they name has to be here in that very
version. The same locks give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name

from poller import __version__
from tests.audit import ROOT, read_lock

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCKS = ("requirements/runtime.txt", "requirements/postgres.txt")


class SbomError(RuntimeError):
    """The bill would not be true, or could not be made."""


def environment() -> dict[str, Any]:
    """What cyclonedx-py says about the environment that this runs in.

    Raises:
        SbomError: The tool is missing or fails.
    """
    tool = Path(sys.executable).with_name("cyclonedx-py")
    command: list[str | Path] = [
        tool,
        "environment",
        "--pyproject",
        ROOT / "pyproject.toml",
        "--output-reproducible",
    ]
    try:
        done = subprocess.run(
            [*command, "--no-validate", sys.executable],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    except FileNotFoundError as error:
        raise SbomError(f"{tool} is missing; install the dependency group `verify`") from error
    except subprocess.CalledProcessError as error:
        raise SbomError(error.stderr.strip()) from error
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def locked() -> str:
    """What the locks name, as one."""
    return "\n".join((ROOT / name).read_text() for name in LOCKS)


def shipped(whole: Mapping[str, Any], lock: str, version: str) -> dict[str, Any]:
    """Cut a bill of the environment down to what a lock names, with the program at its root.

    Raises:
        SbomError: Something of the lock is not installed, or in another version.
    """
    named, problems = read_lock("the lock", lock)
    wanted: dict[str, str] = {each.name: each.version for each in named if each.applies}
    components = [each for each in whole["components"] if canonicalize_name(each["name"]) in wanted]
    has: dict[str, str] = {canonicalize_name(each["name"]): each["version"] for each in components}
    problems += [
        f"{name} is locked at {locked_at}, and {has.get(name, 'nothing')} is installed"
        for name, locked_at in sorted(wanted.items())
        if has.get(name) != locked_at
    ]
    if problems:
        raise SbomError("; ".join(problems))
    root = {
        **whole["metadata"]["component"],
        "version": version,
        "purl": f"pkg:pypi/bedrock-poller@{version}",
    }
    kept = {root["bom-ref"], *(each["bom-ref"] for each in components)}
    dependencies = [
        {
            "ref": each["ref"],
            **({"dependsOn": on} if (on := sorted(kept.intersection(each.get("dependsOn", ())))) else {}),
        }
        for each in whole["dependencies"]
        if each["ref"] in kept
    ]
    return {
        **whole,
        "metadata": {**whole["metadata"], "component": root},
        "components": components,
        "dependencies": dependencies,
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the bill to standard output or a file."""
    parser = argparse.ArgumentParser(prog="sbom", description="Writes the software bill of materials.")
    parser.add_argument("--output", type=Path, metavar="FILE", help="where to; default: standard output")
    output: Path | None = parser.parse_args(arguments).output
    try:
        bill = shipped(environment(), locked(), __version__)
    except SbomError as error:
        sys.stderr.write(f"sbom: {error}\n")
        return 1
    text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
        sys.stderr.write(f"sbom: {output}: {len(bill['components'])} components\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
