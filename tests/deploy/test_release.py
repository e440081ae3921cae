"""What a release rests on: one version, a changelog, workflows with few rights, hooks that run the checks."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from poller import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").iterdir()}
JOBS = [(file, name, job) for file, flow in WORKFLOWS.items() for name, job in flow["jobs"].items()]
STEPS = [(f"{file}:{name}", step) for file, name, job in JOBS for step in job["steps"]]
KINDS_OF_CHANGE = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
MAKEFILE = (ROOT / "Makefile").read_text()


def _named_versions() -> list[tuple[str, str]]:
    """Each place that names a version of the image."""
    files = [
        ROOT / "Dockerfile",
        *(path for folder in ("docs", "deploy") for path in (ROOT / folder).rglob("*") if path.is_file()),
    ]
    return [
        (str(path.relative_to(ROOT)), version)
        for path in files
        for version in re.findall(r"bedrock-poller:([0-9][\w.-]*)", path.read_text())
    ]


def test_the_version_has_one_source() -> None:
    """The version stands in `poller/__init__.py`; the build reads it there, and all others say the same."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"] == {"path": "poller/__init__.py"}
    chart = yaml.safe_load((ROOT / "deploy/helm/bedrock-poller/Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    label = re.search(r'org\.opencontainers\.image\.version="([^"]+)"', (ROOT / "Dockerfile").read_text())
    assert label
    assert label[1] == __version__
    named = _named_versions()
    assert {file for file, _ in named} >= {"Dockerfile", "docs/kubernetes.md"}
    assert [(file, version) for file, version in named if version != __version__] == []


def _releases() -> list[tuple[str, str | None, str]]:
    """Version, date and text of each part of the changelog, the newest first."""
    parts = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    found = []
    for part in parts:
        heading, _, text = part.partition("\n")
        match = re.fullmatch(r"\[(Unreleased|\d+\.\d+\.\d+)\](?: - (\d{4}-\d{2}-\d{2}))?", heading)
        assert match, heading
        found.append((match[1], match[2], text))
    return found


def test_the_changelog_keeps_its_form() -> None:
    """Releases stand under their dates, the newest first, and each change under what kind of change it is."""
    releases = _releases()
    dated = [(version, day) for version, day, _ in releases if version != "Unreleased"]
    assert [version for version, day, _ in releases if day is None] == ["Unreleased"][
        : len(releases) - len(dated)
    ]
    assert releases[0][0] == "Unreleased" or len(dated) == len(releases)
    days = [date.fromisoformat(day or "") for _, day in dated]
    assert days == sorted(days, reverse=True)
    numbers = [tuple(map(int, version.split("."))) for version, _ in dated]
    assert numbers == sorted(set(numbers), reverse=True)
    for version, _, text in releases:
        kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)
        assert kinds == sorted(set(kinds), key=KINDS_OF_CHANGE.index), version
        for part in re.split(r"^### .+$", text, flags=re.MULTILINE)[1:]:
            assert part.strip().startswith("- "), version


def test_the_newest_release_is_this_version() -> None:
    """The newest release of the changelog is the program's version."""
    assert next(version for version, day, _ in _releases() if day) == __version__


@pytest.mark.parametrize("file", WORKFLOWS)
def test_workflows_begin_with_no_rights(file: str) -> None:
    """No workflow has rights as a whole; each job names its own, and a limit of time."""
    assert WORKFLOWS[file]["permissions"] == {}
    for job in WORKFLOWS[file]["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"] <= 60


def test_who_may_write_runs_none_of_our_code() -> None:
    """A job that may write, or sign, checks nothing out; one that runs our code may only read."""
    for file, name, job in JOBS:
        writes = [right for right, level in job["permissions"].items() if level != "read"]
        checks_out = any(step.get("uses", "").startswith("actions/checkout@") for step in job["steps"])
        assert bool(writes) != checks_out, f"{file}:{name}"


def test_actions_are_pinned_to_commits() -> None:
    """Every action is named by a full commit, with the tag that it had behind it, the same everywhere."""
    lines = [
        line for file in WORKFLOWS for line in (ROOT / ".github/workflows" / file).read_text().splitlines()
    ]
    pins = {line.split("uses:")[1].strip() for line in lines if "uses:" in line}
    assert len(pins) == 7
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), pin
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


def test_no_checkout_leaves_credentials() -> None:
    """What is checked out has no token in its configuration."""
    for place, step in STEPS:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"] == {"persist-credentials": False}, place


def test_no_expression_stands_in_a_script() -> None:
    """What a stranger may choose, such as the name of a branch, is never pasted into a script."""
    for place, step in STEPS:
        assert "${{" not in step.get("run", ""), place


def test_workflows_use_targets_that_exist() -> None:
    """Every `make …` of a workflow is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE))
    named: set[str] = set()
    for _, step in STEPS:
        if step.get("run", "").startswith("make "):
            named |= {word for word in shlex.split(step["run"])[1:] if "=" not in word}
    assert named >= {"check", "audit", "vulnerabilities", "test", "test-long", "sbom", "dist"}
    assert named <= targets


def test_a_release_is_built_apart() -> None:
    """The wheel is built by locked tools on a machine and in an environment without any others (fault 83)."""
    build = WORKFLOWS["release.yml"]["jobs"]["build"]
    assert [step["run"] for step in build["steps"] if "make" in step.get("run", "")] == [
        "make dist PYTHON=python"
    ]
    recipe = re.search(r"^dist:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    removes, makes, installs, builds = [line.strip("\t@") for line in recipe[1].splitlines()]
    assert removes == "rm -rf build dist"
    assert makes == "$(PYTHON) -m venv build/environment"
    assert installs.startswith("build/environment/bin/python -m pip ")
    assert installs.endswith(" install --require-hashes -r requirements/build.txt")
    assert builds == "build/environment/bin/python -I -m hatchling build"


def test_a_release_is_attested() -> None:
    """What is published was attested before, provenance and bill of materials, by nothing else (fault 83)."""
    jobs = WORKFLOWS["release.yml"]["jobs"]
    steps = {step["uses"].partition("@")[0]: step["with"] for step in jobs["attest"]["steps"]}
    for action in ("actions/attest-build-provenance", "actions/attest-sbom"):
        assert steps[action]["subject-path"] == "dist/*"
    assert jobs["attest"]["needs"] == "build"
    assert jobs["publish"]["needs"] == "attest"
    assert jobs["announce"]["needs"] == "publish"
    assert "gh attestation verify" in (ROOT / "docs/install.md").read_text()


def test_known_vulnerabilities_are_looked_up() -> None:
    """For each change, each day and each release, in all that is shipped and in what builds it (fault 83)."""
    flow = WORKFLOWS["vulnerabilities.yml"]
    # YAML takes `on` for true.
    assert flow[True].keys() == {"push", "pull_request", "schedule"}
    runs = [step.get("run", "") for step in WORKFLOWS["release.yml"]["jobs"]["test"]["steps"]]
    assert any(run.startswith("make ") and " vulnerabilities " in run for run in runs)
    recipe = re.search(r"^vulnerabilities:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe
    assert "--strict" in recipe[1]
    assert set(re.findall(r"-r (\S+)", recipe[1])) == {
        f"requirements/{name}.txt" for name in ("runtime", "postgres", "build")
    }


def test_newer_versions_are_proposed() -> None:
    """Dependabot watches packages, the base image and actions, and waits a week with each (fault 83)."""
    config = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    assert config["version"] == 2
    updates = {each["package-ecosystem"]: each for each in config["updates"]}
    assert updates.keys() == {"pip", "docker", "github-actions"}
    for each in updates.values():
        assert each["schedule"] == {"interval": "weekly"}
        assert each["cooldown"] == {"default-days": 7}
        for folder in each.get("directories", [each.get("directory")]):
            assert (ROOT / folder.strip("/")).is_dir()


def test_no_old_client_is_allowed() -> None:
    """The HTTP client is one without the vulnerabilities that are known of older ones (fault 83)."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (client,) = [each for each in project["dependencies"] if each.startswith("aiohttp")]
    assert "3.14.0" not in Requirement(client).specifier
    assert "3.14.2" not in Requirement(client).specifier
    assert "3.14.3" in Requirement(client).specifier


def _step(name: str) -> str:
    """The script of a step of the release."""
    (script,) = [step["run"] for _, step in STEPS if step.get("name") == name]
    return str(script)


def _do(script: str, folder: Path, tag: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": path, "GITHUB_REF_NAME": tag, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_tag_of_another_version_is_no_release() -> None:
    """The release stops unless the tag is the version of the program."""
    script = _step("The tag is the version")
    assert _do(script, ROOT, f"v{__version__}").returncode == 0
    done = _do(script, ROOT, "v9.9.9")
    assert done.returncode == 1
    assert done.stdout.startswith(f"::error::the tag is v9.9.9, and the program says {__version__}")


def test_the_notes_of_a_release_are_its_part_of_the_changelog(tmp_path: Path) -> None:
    """The notes hold what the changelog says of that version and nothing else; without any it stops."""
    (tmp_path / "CHANGELOG.md").write_text((ROOT / "CHANGELOG.md").read_text())
    script = _step("The changelog says what is new")
    assert _do(script, tmp_path, f"v{__version__}").returncode == 0
    (expected,) = [text for version, _, text in _releases() if version == __version__]
    assert (tmp_path / "release" / "notes.md").read_text().strip() == expected.strip()
    assert _do(script, tmp_path, "v9.9.9").returncode == 1


def _hooks() -> list[dict[str, Any]]:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    return list(repository["hooks"])


def test_hooks_run_what_make_check_runs() -> None:
    """The hooks for pre-commit are the commands of `make check`, in its order, and fetch nothing."""
    recipe = re.search(r"^check:.*\n((?:\t.+\n)+)", MAKEFILE, re.MULTILINE)
    sources = re.search(r"^SOURCES := (.+)$", MAKEFILE, re.MULTILINE)
    assert recipe
    assert sources
    commands = recipe[1].replace("$(BIN)", ".venv/bin").replace("$(SOURCES)", sources[1])
    assert [hook["entry"] for hook in _hooks()] == [
        line.removeprefix("\t@") for line in commands.splitlines()
    ]
    for hook in _hooks():
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        assert (Path(sys.executable).parent / Path(shlex.split(hook["entry"])[0]).name).exists()
