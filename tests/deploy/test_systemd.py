"""The systemd unit is one, and agrees with the program."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from poller.settings.schema import ShutdownSettings
from poller.settings.store_url import default_url
from tests.docs.pages import check_command_line

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNIT = FOLDER / "bedrock-poller.service"
LINES = [line.partition("=") for line in UNIT.read_text().splitlines() if "=" in line and line[0] != "#"]
SETTINGS = {key: value for key, _, value in LINES}


def test_command_exists() -> None:
    """The unit starts the daemon with a configuration file."""
    program, *arguments = SETTINGS["ExecStart"].split()
    assert Path(program).name == "bedrock-poller"
    assert check_command_line(arguments) == "run"
    assert "--config" in arguments


def test_state_is_kept_where_systemd_says() -> None:
    """The database goes into the directory that systemd makes for the unit."""
    given = f"/var/lib/{SETTINGS['StateDirectory']}"
    url = default_url({"STATE_DIRECTORY": given})
    assert url.get_secret_value() == f"sqlite:///{given}/poller.db"


def test_unit_may_end_in_peace() -> None:
    """The unit gets the time that polls and then sends may take, and seconds to spare."""
    grace = ShutdownSettings().grace.total_seconds()
    assert grace + 10 <= float(SETTINGS["TimeoutStopSec"].removesuffix("s"))


def test_wrong_configuration_is_not_tried_again() -> None:
    """A failure is followed by a restart, a wrong configuration (exit code 2) is not."""
    assert SETTINGS["Restart"] == "on-failure"
    assert SETTINGS["RestartPreventExitStatus"] == "2"


def test_readme_installs_the_unit() -> None:
    """The README puts program, configuration and environment where the unit looks for them."""
    text = (FOLDER / "README.md").read_text()
    program, *_, config = SETTINGS["ExecStart"].split()
    for path in (Path(program).parents[1], config, SETTINGS["EnvironmentFile"].removeprefix("-")):
        assert str(path) in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the unit."""
    copy = tmp_path / UNIT.name
    program = SETTINGS["ExecStart"].split()[0]
    copy.write_text(UNIT.read_text().replace(program, "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
