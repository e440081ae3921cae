"""Audits what the program depends on, without a network; `make audit` runs it, and so does CI.

The lock: every requirement pinned and hashed, nothing from elsewhere. The environment: consistent, and just
what the lock says. The files: no name of a package registry, so that everybody's own mirror is used. The
licences of what is shipped: on a list. Known vulnerabilities need an advisory database, which is a service
out there: they are not looked up, and the report says so.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

ROOT = Path(__file__).parents[1]
LOCKS = (
    "requirements/runtime.txt",
    "requirements/postgres.txt",
    "requirements/build.txt",
    "requirements/dev.txt",
)
CHECKERS = ("requirements/verify.txt", "requirements/audit.txt")
"""Installed only where deploy/ or vulnerabilities are checked, so their entries are read and not compared."""
ALLOWED = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT", "MIT-0", "PSF-2.0"})
"""Licences, by their SPDX names, that ask for no more than their own text to be passed on."""
OF_EXTRAS = ALLOWED | {"LGPL-3.0-only"}
"""Of what an extra brings: whoever passes that on, an image for example, has to offer its source as well."""

SAID = {
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License": "ISC",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
}
"""What packages from before SPDX say; the BSD licences differ in a clause that does not matter here."""

# In parts, because this file is one of those that must not name them.
REGISTRIES = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("gcr", "io"),
        ("quay", "io"),
        ("npmjs", "org"),
        ("public", "ecr", "aws"),
    )
)
_OWN = "bedrock-poller"
_TOOLS = frozenset({_OWN, "pip", "setuptools", "wheel"})
_HASH = re.compile(r"--hash=(\S*)")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Locked:
    """One requirement of a lock file."""

    name: str
    version: str
    applies: bool


def entries(text: str) -> Iterator[str]:
    """The requirements of a lock file, each on one line, without comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    for line in joined.splitlines():
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if entry:
            yield entry


def read_lock(name: str, text: str) -> tuple[list[Locked], list[str]]:
    """The requirements of a lock file, and what is wrong with it."""
    found, problems = [], []
    for entry in entries(text):
        hashes = _HASH.findall(entry)
        stated = _HASH.sub("", entry).strip()
        short = stated[:80]
        try:
            requirement = Requirement(stated)
        except InvalidRequirement:
            problems.append(f"{name}: {short!r} is no pinned requirement")
            continue
        versions = list(requirement.specifier)
        if requirement.url or "://" in entry:
            problems.append(f"{name}: {short!r} comes from an address of its own")
        elif len(versions) != 1 or versions[0].operator != "==" or "*" in versions[0].version:
            problems.append(f"{name}: {short!r} is not pinned with ==")
        else:
            applies = requirement.marker is None or requirement.marker.evaluate()
            found.append(Locked(canonicalize_name(requirement.name), versions[0].version, applies))
        if not hashes or not all(map(_SHA256.fullmatch, hashes)):
            problems.append(f"{name}: {short!r} has no sha256, or a hash that is none")
    return found, problems


def differences(name: str, locked: Iterable[Locked], installed: Mapping[str, Distribution]) -> list[str]:
    """What is installed in another version than the lock's, or not at all."""
    problems = []
    for each in locked:
        if not each.applies:
            continue
        has = installed[each.name].version if each.name in installed else "nothing"
        if has != each.version:
            problems.append(f"{name}: {each.name} is locked at {each.version}, and {has} is installed")
    return problems


def from_elsewhere(installed: Mapping[str, Distribution]) -> list[str]:
    """What was not installed from an index, but from an address; our own package may be."""
    return [
        f"{name} was installed from an address of its own"
        for name, found in sorted(installed.items())
        if name != _OWN and found.read_text("direct_url.json")
    ]


def licence_of(found: Distribution) -> str:
    """What a package says of its licence, in SPDX where it can be told; empty if it says nothing."""
    metadata: Any = found.metadata
    said: str = metadata.get("License-Expression") or ""
    if not said:
        classified = [
            each.rpartition(" :: ")[2]
            for each in metadata.get_all("Classifier", [])
            if each.startswith("License :: ")
        ]
        # Several may be a choice or not; taken together they promise less.
        said = " AND ".join(SAID.get(each, each) for each in classified)
    if not said:
        text = (metadata.get("License") or "").partition("\n")[0].strip()
        said = SAID.get(text, text)
    return said


def is_allowed(licence: str, among: frozenset[str] = ALLOWED) -> bool:
    """Whether an expression of AND and OR, without brackets, can be fulfilled with licences of the list."""
    return any(
        all(part.strip() in among for part in choice.split(" AND ")) for choice in licence.split(" OR ")
    )


def registries_in(files: Mapping[str, str]) -> list[str]:
    """Where files name a package registry."""
    return [
        f"{name}:{number} names {host}"
        for name, text in files.items()
        for host in REGISTRIES
        if host in text
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(rf"(?<![\w-]){re.escape(host)}(?![\w-])", line)
    ]


def committed() -> dict[str, str]:
    """The text of every file that git knows."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = {}
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        if path.is_file():
            files[name] = path.read_text(errors="replace")
    return files


def check_locks(
    locked: Mapping[str, list[Locked]], installed: Mapping[str, Distribution]
) -> tuple[list[str], list[str]]:
    """Whether what is installed is what is locked: what is in order, and what is not."""
    fine, problems = [], from_elsewhere(installed)
    for name, requirements in locked.items():
        wrong = differences(name, requirements, installed)
        problems += wrong
        if not wrong:
            fine.append(f"{name}: {len(requirements)} requirements are pinned, and installed as locked")
    known = {each.name for requirements in locked.values() for each in requirements} | _TOOLS
    if extra := sorted(installed.keys() - known):
        fine.append(f"installed beside the locks, and not part of what is shipped: {', '.join(extra)}")
    checked = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if checked.returncode:
        problems += [f"pip check: {line}" for line in (checked.stdout + checked.stderr).splitlines()]
    else:
        fine.append("pip check: every package has what it requires")
    return fine, problems


def check_files() -> tuple[list[str], list[str]]:
    """Whether the committed files name a registry."""
    try:
        files = committed()
    except (OSError, subprocess.CalledProcessError):
        return ["no git repository: not looked for names of registries"], []
    named = registries_in(files)
    return ([] if named else [f"{len(files)} committed files name no package registry"]), named


def check_licences(
    shipped: Iterable[Locked], installed: Mapping[str, Distribution], among: frozenset[str] = ALLOWED
) -> tuple[list[str], list[str]]:
    """Whether the licences of what is shipped are on the list."""
    licences: dict[str, list[str]] = {}
    for each in shipped:
        if each.applies and each.name in installed:
            licences.setdefault(licence_of(installed[each.name]) or "none stated", []).append(each.name)
    fine: list[str] = []
    problems: list[str] = []
    for licence, names in sorted(licences.items()):
        (fine if is_allowed(licence, among) else problems).append(f"licence {licence}: {', '.join(names)}")
    return fine, problems


def audit() -> tuple[list[str], list[str]]:
    """What was found to be in order, and what was not."""
    installed: dict[str, Distribution] = {
        canonicalize_name(found.metadata["Name"]): found for found in distributions()
    }
    locked: dict[str, list[Locked]] = {}
    problems: list[str] = []
    for name in LOCKS:
        locked[name], wrong = read_lock(name, (ROOT / name).read_text())
        problems += wrong
    pinned = []
    for name in CHECKERS:
        checkers, wrong = read_lock(name, (ROOT / name).read_text())
        problems += wrong
        pinned.append(f"{name}: {len(checkers)} requirements are pinned")
    runtime, extra = locked[LOCKS[0]], locked[LOCKS[1]]
    beside = [each for each in extra if each.name not in {one.name for one in runtime}]
    reports = [
        check_locks(locked, installed),
        (pinned, []),
        check_files(),
        check_licences(runtime, installed),
        check_licences(beside, installed, OF_EXTRAS),
    ]
    return [line for fine, _ in reports for line in fine], problems + [
        line for _, wrong in reports for line in wrong
    ]


def main() -> int:
    """Print the report; 1 if something is wrong."""
    fine, problems = audit()
    sys.stdout.writelines(f"audit: {line}\n" for line in fine)
    sys.stdout.write(
        "audit: known vulnerabilities were NOT looked up: that takes an advisory database on the network\n"
        "audit: where there is a network, run: make vulnerabilities\n"
    )
    sys.stderr.writelines(f"audit: wrong: {line}\n" for line in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
