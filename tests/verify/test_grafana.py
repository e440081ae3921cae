"""The dashboard, held against Grafana's own types and Prometheus' parser of queries.

Grafana publishes the types of its dashboards and panels for TypeScript. Its compiler refuses a literal with a
member that the types do not have, or a value that an enumeration lacks.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.verify import tools

if TYPE_CHECKING:
    from collections.abc import Callable

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "deploy" / "grafana" / "bedrock-poller.json").read_text()
)
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SCHEMA, TYPESCRIPT = "13.2.3", "7.0.2"
_PLUGINS = {"state-timeline": "statetimeline"}
# Enumerations are written as their values in JSON, which the types know by other names.
_TYPES = """\
import type * as grafana from "@grafana/schema";
type Values<T> = T extends string ? `${T}`
  : T extends readonly (infer U)[] ? Values<U>[]
  : T extends object ? { [K in keyof T]: Values<T[K]> }
  : T;
type Source<C> = Omit<grafana.FieldConfigSource, "defaults">
  & { defaults: Omit<grafana.FieldConfig, "custom"> & { custom?: Partial<C> } };
"""


@pytest.fixture(scope="session")
def modules() -> Path:
    """The types and the compiler."""
    try:
        return tools.npm(f"@grafana/schema@{SCHEMA}", f"typescript@{TYPESCRIPT}")
    except tools.MissingError as error:
        pytest.fail(str(error), pytrace=False)


def _program(dashboard: dict[str, Any]) -> str:
    """A program that can be compiled only if the dashboard is of the types."""
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    plugins = sorted({_PLUGINS.get(panel["type"], panel["type"]) for panel in panels})
    lines = [_TYPES]
    lines += [
        f'import type * as {plugin} from "../node_modules/@grafana/schema/dist/types/raw/composable/{plugin}'
        '/panelcfg/x/types.gen";'
        for plugin in plugins
    ]
    whole = {**dashboard, "panels": [panel for panel in dashboard["panels"] if panel["type"] == "row"]}
    lines.append(f"export const dashboard: Values<grafana.Dashboard> = {json.dumps(whole)};")
    for panel in panels:
        plugin = _PLUGINS.get(panel["type"], panel["type"])
        name = f"panel{panel['id']}"
        # A stat panel has no settings of a field that are its own.
        custom = f"{plugin}.FieldConfig" if "custom" in panel["fieldConfig"]["defaults"] else "object"
        rest = {key: value for key, value in panel.items() if key not in {"options", "fieldConfig"}}
        lines.append(f"export const {name}: Values<grafana.Panel> = {json.dumps(rest)};")
        lines.append(
            f"export const {name}options: Values<Partial<{plugin}.Options>> = {json.dumps(panel['options'])};"
        )
        lines.append(
            f"export const {name}fields: Values<Source<{custom}>> = {json.dumps(panel['fieldConfig'])};"
        )
    return "\n".join(lines)


def _compile(modules: Path, folder: Path, dashboard: dict[str, Any]) -> str:
    """What the compiler has against a dashboard; empty if nothing."""
    (folder / "node_modules").symlink_to(modules)
    (folder / "check").mkdir()
    (folder / "check" / "check.ts").write_text(_program(dashboard))
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "esnext", "--module", "esnext"]
    done = subprocess.run(
        [
            "node",
            modules / "typescript" / "bin" / "tsc",
            *options,
            "--moduleResolution",
            "bundler",
            "check/check.ts",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def test_dashboard_is_of_grafanas_types(modules: Path, tmp_path: Path, said: Callable[[str], None]) -> None:
    """The dashboard, its variables, and each panel with its options have no member that Grafana lacks."""
    assert _compile(modules, tmp_path, DASHBOARD) == ""
    said(f"{len(PANELS)} panels, @grafana/schema {SCHEMA}")


@pytest.mark.parametrize("wrong", ["tittle", "wiggles", "legends", "units"])
def test_a_wrong_dashboard_is_noticed(modules: Path, tmp_path: Path, wrong: str) -> None:
    """A member, a value, an option or a setting of a field that Grafana does not know is refused."""
    broken = json.loads(json.dumps(DASHBOARD))
    panel = next(panel for panel in broken["panels"] if panel["type"] == "timeseries")
    if wrong == "tittle":
        panel[wrong] = "Jobs"
    elif wrong == "wiggles":
        panel["fieldConfig"]["defaults"]["custom"]["drawStyle"] = wrong
    elif wrong == "legends":
        panel["options"][wrong] = {}
    else:
        panel["fieldConfig"]["defaults"][wrong] = "s"
    assert wrong in _compile(modules, tmp_path, broken)


def test_queries_can_be_parsed(tmp_path: Path, said: Callable[[str], None]) -> None:
    """`promtool check rules` can read every query of the dashboard."""
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    filled = [re.sub(r"\$\w+", ".*", query.replace("$__rate_interval", "5m")) for query in queries]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(filled)]
    (tmp_path / "queries.yaml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    try:
        promtool = tools.promtool()
    except tools.MissingError as error:
        pytest.fail(str(error), pytrace=False)
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "queries.yaml"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said(f"{len(queries)} queries")
