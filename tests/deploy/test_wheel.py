"""The wheel, built from a clean copy as the Dockerfile does, is whole and works, and so is the sdist.

`make verify-deploy` installs it with the locked dependencies; here, without a network, it borrows those that
are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from poller import __version__

ROOT = Path(__file__).parents[2]


def _run(*command: str | Path, cwd: Path | str = "/", **environment: str) -> str:
    # Neither where this process finds its modules, nor its coverage, may leak into what is tried.
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=cwd,
        env={**kept, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "poller", source / "poller", ignore=shutil.ignore_patterns("__pycache__"))
    wheels = tmp_path_factory.mktemp("wheels")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-cache-dir")
    _run(*pip, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source)
    (built,) = wheels.iterdir()
    return built


@pytest.mark.slow
def test_wheel_has_every_file(wheel: Path) -> None:
    """Every file of the package is in the wheel: modules, migrations, the marker of types."""
    expected = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "poller").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name for name in names if ".dist-info/" not in name} == expected
    assert {"poller/py.typed", "poller/store/migrations/script.py.mako"} <= names
    assert any(name.startswith("poller/store/migrations/versions/0001") for name in names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


@pytest.mark.slow
@pytest.mark.long
def test_wheel_works_in_an_environment_of_its_own(wheel: Path, tmp_path: Path) -> None:
    """Installed from the wheel, the program works in any folder, with its schema, migrations and demo."""
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True)
    python = environment / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python)
    _run(*pip, "install", "--no-index", "--no-deps", wheel)
    # The dependencies are those of the environment that runs the tests; its .pth files are not followed.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    home = {"HOME": str(tmp_path), "STATE_DIRECTORY": str(tmp_path / "state")}
    imported = _run(python, "-c", "import os, poller; print(os.path.dirname(poller.__file__))", **home)
    assert Path(imported.strip()).is_relative_to(environment)
    program = environment / "bin" / "bedrock-poller"
    assert _run(program, "version", **home) == f"bedrock-poller {__version__}\n"
    assert "migrated from nothing" in _run(program, "migrate", **home)
    assert (tmp_path / "state" / "poller.db").exists()
    assert json.loads(_run(program, "schema", **home)) == json.loads(
        (ROOT / "config/schema.json").read_text()
    )
    demo = _run(program, "demo", "--for", "2s", "--jobs", "5", "--speed", "600", **home)
    assert " lost=0 " in demo.splitlines()[-1]


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.mark.slow
def test_the_source_distribution_is_the_repository(tmp_path: Path) -> None:
    """It has all of the repository, tests included, and the wheel built from it is the same to the byte.

    Who packages the program for a distribution gets to run its tests, and anybody can build the wheel again.
    """
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is no checkout")
    source = tmp_path / "source"
    for name in filter(lambda name: (ROOT / name).is_file(), listed.stdout.splitlines()):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    hatchling = (sys.executable, "-m", "hatchling", "build")
    _run(*hatchling, cwd=source)
    (archive,) = (source / "dist").glob("*.tar.gz")
    assert archive.name == f"bedrock_poller-{__version__}.tar.gz"
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()

    def files(folder: Path) -> set[str]:
        found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        return {name for name in found if not name.startswith("dist/")}

    assert files(unpacked) == files(source) | {"PKG-INFO"}
    _run(*hatchling, "-t", "wheel", cwd=unpacked)
    wheels = _hashes(unpacked / "dist")
    assert wheels.keys() == {f"bedrock_poller-{__version__}-py3-none-any.whl"}
    assert wheels.items() <= _hashes(source / "dist").items()
