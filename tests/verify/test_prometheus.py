"""The rules, held against Prometheus' own tool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.verify import tools

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture(scope="session")
def promtool() -> Path:
    """The tool."""
    try:
        return tools.promtool()
    except tools.MissingError as error:
        pytest.fail(str(error), pytrace=False)


def _try(*command: str | Path, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def _run(*command: str | Path) -> str:
    done = _try(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_rules_are_valid(promtool: Path, said: Callable[[str], None]) -> None:
    """`promtool check rules` accepts the alerts."""
    printed = _run(promtool, "check", "rules", "--lint-fatal", "alerts.yaml")
    (count,) = re.findall(r"SUCCESS: (\d+) rules found", printed)
    assert int(count) > 0
    said(f"{count} alerts, {_run(promtool, '--version').splitlines()[0].partition(' (')[0]}")


def test_alerts_fire_when_they_should(promtool: Path, said: Callable[[str], None]) -> None:
    """`promtool test rules`: each alert fires in the case made for it, and not in the one nearest to it."""
    assert "SUCCESS" in _run(promtool, "test", "rules", "alerts_test.yaml")
    document = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())
    cases = [case for test in document["tests"] for case in test["alert_rule_test"]]
    fires = sum(bool(case["exp_alerts"]) for case in cases)
    said(f"{fires} cases in which one fires, {len(cases) - fires} in which none does")


def test_a_broken_alert_is_noticed(promtool: Path, tmp_path: Path, said: Callable[[str], None]) -> None:
    """The tests of the rules fail for every alert, when each is turned into one that never fires."""
    shutil.copy(FOLDER / "alerts_test.yaml", tmp_path)
    document = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
    names = []
    for group in document["groups"]:
        for rule in group["rules"]:
            rule["expr"] = f"({rule['expr']}) and on () vector(0) > 1"
            names.append(rule["alert"])
    (tmp_path / "alerts.yaml").write_text(yaml.safe_dump(document))
    done = _try(promtool, "test", "rules", "alerts_test.yaml", folder=tmp_path)
    assert done.returncode != 0
    assert set(re.findall(r"alertname: (\w+), time", done.stdout + done.stderr)) == set(names)
    said(f"{len(names)} broken")
