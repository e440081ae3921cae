"""The release, held against the tools that others judge it by, and installed as users install it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

from poller import __version__
from tests import sbom
from tests.audit import read_lock
from tests.verify import tools

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
BIN = Path(sys.executable).parent


def _try(
    *command: str | Path, folder: Path = ROOT, environ: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    # Neither where this process finds its modules, nor its coverage, may leak into what is tried.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    return subprocess.run(
        command,
        cwd=folder,
        env={**kept, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _run(*command: str | Path, folder: Path = ROOT, environ: dict[str, str] | None = None) -> str:
    done = _try(*command, folder=folder, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _zizmor(*paths: Path) -> list[dict[str, Any]]:
    """The findings of zizmor's strictest persona, without a network."""
    done = _try(BIN / "zizmor", "--offline", "--no-progress", "--persona=auditor", "--format=json-v1", *paths)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="session")
def shellcheck() -> Path:
    """What actionlint judges scripts with."""
    try:
        return tools.debian("shellcheck", "shellcheck")
    except tools.MissingError as error:
        pytest.fail(str(error), pytrace=False)


def test_zizmor_finds_nothing(said: Callable[[str], None]) -> None:
    """No workflow has a flaw that zizmor knows, whatever its confidence."""
    assert _zizmor(WORKFLOWS, WORKFLOWS.parent / "dependabot.yml") == []
    said(f"{len(list(WORKFLOWS.iterdir()))} workflows")


def test_actionlint_finds_nothing(shellcheck: Path, said: Callable[[str], None]) -> None:
    """Every workflow is one that GitHub takes, and shellcheck has nothing against its scripts."""
    files = sorted(WORKFLOWS.iterdir())
    assert _run(BIN / "actionlint", "-shellcheck", shellcheck, *files) == ""
    said(f"{len(files)} workflows")


@pytest.mark.parametrize(
    ("right", "wrong", "ident"),
    [
        (
            "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2",
            "actions/checkout@v6",
            "unpinned-uses",
        ),
        ("          persist-credentials: false\n", "          fetch-depth: 1\n", "artipacked"),
        ("permissions: {}\n", "permissions: write-all\n", "excessive-permissions"),
        ("run: make test PYTHON=python", "run: echo ${{ github.head_ref }}", "template-injection"),
    ],
)
def test_a_careless_workflow_is_found(right: str, wrong: str, ident: str, tmp_path: Path) -> None:
    """A movable tag, a token left behind, rights for all, a stranger's text in a script: each is found."""
    text = (WORKFLOWS / "ci.yml").read_text()
    assert right in text
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "ci.yml").write_text(text.replace(right, wrong, 1))
    assert ident in {finding["ident"] for finding in _zizmor(folder)}


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("needs: build", "needs: built"),
        ("runs-on: ubuntu-24.04", "runs-on: ubuntu-1.0"),
        ("attestations: write", "attestation: write"),
        ('"$GITHUB_REF_NAME" --verify-tag', "$GITHUB_REF_NAME --verify-tag"),
    ],
)
def test_a_broken_workflow_is_found(right: str, wrong: str, shellcheck: Path, tmp_path: Path) -> None:
    """A job, a runner or a right that does not exist, and a script without quotes, are found."""
    text = (WORKFLOWS / "release.yml").read_text()
    assert right in text
    (tmp_path / "release.yml").write_text(text.replace(right, wrong, 1))
    assert _try(BIN / "actionlint", "-shellcheck", shellcheck, tmp_path / "release.yml").returncode == 1


def test_pre_commit_takes_its_configuration() -> None:
    """pre-commit itself reads the hooks, in a home of its own and without a network."""
    _run(BIN / "pre-commit", "validate-config", ".pre-commit-config.yaml")


def test_the_bill_of_materials_is_true(tmp_path: Path, said: Callable[[str], None]) -> None:
    """It is valid CycloneDX; it names what the locks of the image name, with licences, and nothing else."""
    written = tmp_path / "sbom.json"
    assert sbom.main(["--output", str(written)]) == 0
    bill = json.loads(written.read_text())
    assert (
        JsonStrictValidator(SchemaVersion.from_version(bill["specVersion"])).validate_str(written.read_text())
        is None
    )
    locked, problems = read_lock("the lock", sbom.locked())
    assert problems == []
    named = {canonicalize_name(each["name"]): each["version"] for each in bill["components"]}
    assert named == {each.name: each.version for each in locked if each.applies}
    assert {"boto3", "psycopg"} <= named.keys()
    assert [each["name"] for each in bill["components"] if not each.get("licenses")] == []
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("bedrock-poller", __version__)
    (own,) = [each for each in bill["dependencies"] if each["ref"] == root["bom-ref"]]
    assert {"boto3", "aiohttp"} <= {ref.partition("==")[0] for ref in own["dependsOn"]}
    again = tmp_path / "again.json"
    assert sbom.main(["--output", str(again)]) == 0
    assert again.read_bytes() == written.read_bytes()
    said(f"{len(named)} components")


def test_a_bill_of_something_else_is_refused() -> None:
    """What is not installed as it is locked makes no bill."""
    whole = {
        "components": [{"name": "boto3", "version": "1.0", "bom-ref": "boto3==1.0"}],
        "dependencies": [],
        "metadata": {"component": {"name": "bedrock-poller", "bom-ref": "root-component"}},
    }
    lock = f"boto3==2.0 --hash=sha256:{'0' * 64}\naiohttp==3.0 --hash=sha256:{'0' * 64}\n"
    with pytest.raises(
        sbom.SbomError, match=r"aiohttp is locked at 3\.0, and nothing.*boto3 is locked at 2\.0, and 1\.0"
    ):
        sbom.shipped(whole, lock, "1")
    assert len(sbom.shipped(whole, lock.replace("2.0", "1.0").partition("\n")[0], "1")["components"]) == 1


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bare environment with the locked dependencies and the wheel that a release would have."""
    source = tmp_path_factory.mktemp("source") / "tree"
    ignored = shutil.ignore_patterns(
        ".venv*", ".git", ".*_cache", "__pycache__", ".hypothesis", "build", "dist", "*.db"
    )
    shutil.copytree(ROOT, source, ignore=ignored)
    _run("make", "dist", f"PYTHON={sys.executable}", folder=source)
    (wheel,) = (source / "dist").glob("*.whl")
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment, symlinks=True)
    pip = (
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        environment / "bin" / "python",
    )
    _run(*pip, "install", "--quiet", "--require-hashes", "-r", ROOT / "requirements" / "runtime.txt")
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel)
    return environment


@pytest.mark.timeout(600)
def test_the_wheel_works_with_the_locked_dependencies(
    installed: Path, tmp_path: Path, said: Callable[[str], None]
) -> None:
    """In a bare environment, from a folder of its own, the program does what the README promises."""
    program = installed / "bin" / "bedrock-poller"
    environ = {"HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path / "state"), "AWS_REGION": "us-east-1"}

    def run(*arguments: str) -> str:
        return _run(program, *arguments, folder=tmp_path, environ=environ)

    assert run("version") == f"bedrock-poller {__version__}\n"
    assert json.loads(run("schema")) == json.loads((ROOT / "config" / "schema.json").read_text())
    assert "migrated from nothing" in run("migrate")
    assert (tmp_path / "state" / "poller.db").exists()
    assert json.loads(run("iam-policy"))["Statement"]
    last = run("demo", "--for", "5s", "--jobs", "20").strip().splitlines()[-1]
    assert last.startswith("demo: transitions=")
    assert " lost=0 " in last
    said(last.removeprefix("demo: "))
