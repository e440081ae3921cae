"""The systemd unit, by systemd's own tools."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Said = Callable[[str], None]

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
NAME = "bedrock-poller.service"
THRESHOLD = 15
"""Tenths of systemd's measure of exposure, of which 100 is the worst."""

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit with its drop-in, as if the program were installed."""
    text = (FOLDER / NAME).read_text()
    unit = tmp_path / NAME
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", text))
    dropins = tmp_path / f"{NAME}.d"
    dropins.mkdir()
    shutil.copy(FOLDER / "secrets.conf", dropins)
    return unit


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_verify(unit: Path, said: Said) -> None:
    """systemd-analyze verify has nothing to say about unit and drop-in, and notices a mistake in either."""
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    dropin = unit.with_name(f"{NAME}.d") / "secrets.conf"
    dropin.write_text("[Service]\nLoadCredentials=webhook-secret:/etc/secret\n")
    assert "LoadCredentials" in analyze("verify", str(unit)).stderr
    said("no warning")


def test_security(unit: Path, said: Said) -> None:
    """systemd-analyze security finds the unit well enclosed, and would find it lacking without that."""
    options = ("security", "--offline=true", f"--threshold={THRESHOLD}", "--no-pager")
    done = analyze(*options, str(unit))
    assert done.returncode == 0, done.stdout
    found = re.search(r"exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found
    unit.write_text(unit.read_text().replace("NoNewPrivileges=yes", "NoNewPrivileges=no"))
    unit.write_text(unit.read_text().replace("DynamicUser=yes", "DynamicUser=no"))
    assert analyze(*options, str(unit)).returncode != 0
    said(f"exposure {found[1]}, allowed {THRESHOLD / 10}")
