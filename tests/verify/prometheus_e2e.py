"""Real daemons, a real Prometheus with our rules, faults: does each raise its alert, and nothing else one?

First all are well, and none may fire; then comes the trouble. At the end every query of the dashboard is
asked, and has to have had data.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tests.harness.daemon import eventually
from tests.verify import tools
from tests.verify.prometheus_scene import Alert, Fault, Scene
from tests.verify.prometheus_server import Prometheus

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "bedrock-poller.json"
SHORTER = 150
"""By what `for:` is divided."""
_CALM_SECONDS = 10.0
_FAULT_SECONDS = 45.0
_END_SECONDS = 15.0
_UNPROVOKED = {
    "BedrockPollerDeadLettersRemoved": "what is past its retention is removed once an hour",
    "BedrockPollerCertificateExpires": "nobody here has a certificate",
    "BedrockPollerOrganizationFailed": "nobody here watches an organization",
}
_FOLLOWS = {("BedrockPollerPollsFailing", "blind")}
"""What a fault with another alert brings along: a daemon that may see nothing has failing polls as well."""


class Watch:
    """Notes every alert that fires.

    Args:
        prometheus: Where.
    """

    def __init__(self, prometheus: Prometheus) -> None:
        self._prometheus = prometheus
        self.fired: dict[Alert, float] = {}

    def look(self) -> None:
        """Note what fires now."""
        for alert in self._prometheus.firing():
            labels = alert["labels"]
            self.fired.setdefault((labels["alertname"], labels.get("job", "")), time.monotonic())

    def until(self, expected: Iterable[Alert], seconds: float) -> None:
        """Look until all of these have fired, or so long."""
        wanted = set(expected)
        limit = time.monotonic() + seconds
        while time.monotonic() < limit and not wanted <= self.fired.keys():
            self.look()
            time.sleep(0.5)


def shortened(rules: str) -> str:
    """The rules with every `for:` divided."""

    def shorter(found: re.Match[str]) -> str:
        return f"for: {int(found[1]) * 60_000 // SHORTER}ms"

    return re.sub(r"\bfor: (\d+)m$", shorter, rules, flags=re.MULTILINE)


def without_data(prometheus: Prometheus, start: float, end: float) -> tuple[list[str], int]:
    """The panels that have a query without data, with the query; and how many panels there are."""
    dashboard = json.loads(DASHBOARD.read_text())
    missing = []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", _filled(variable["query"]["query"]))
            assert found
            if not any(series["metric"].get(found[2]) for series in prometheus.between(found[1], start, end)):
                missing.append(f"variable {variable['name']}: {found[1]}")
    panels = [panel for panel in dashboard["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            series = prometheus.between(_filled(target["expr"]), start, end)
            numbers = [value for one in series for _, value in one["values"] if value != "NaN"]
            if not numbers:
                missing.append(f"{panel['title']}: {_filled(target['expr'])}")
    return missing, len(panels)


def _filled(query: str) -> str:
    """A query as Grafana sends it, with everything selected."""
    query = query.replace("$__rate_interval", "5s")
    return re.sub(r"\$(job|account|region|kind)\b", ".*", query)


def lint(promtool: Path, page: str) -> str:
    """What `promtool check metrics` has against a page of metrics; empty if nothing."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=page, capture_output=True, text=True, timeout=60, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_whether(right: bool, text: str) -> None:
    """Print a line about something that can be wrong."""
    say(f"{'ok' if right else 'WRONG':<7} {text}")


def judge(began: float, known: set[str], calm: set[Alert], injected: list[Fault], watch: Watch) -> int:
    """Print what fired and what did not; how much of it was wrong."""
    expected = {fault.alert: fault for fault in injected}
    silent = expected.keys() - watch.fired.keys()
    surprising = watch.fired.keys() - expected.keys() - _FOLLOWS - calm
    untried = known - {name for name, _ in expected}
    for (name, job), fault in expected.items():
        fired = watch.fired.get((name, job))
        when = "did not fire" if fired is None else f"fired after {fired - began:.0f} s"
        say_whether(fired is not None, f"{name} of {job or 'nobody'} {when}: {fault.what}")
    for name, job in sorted(calm):
        say_whether(False, f"{name} of {job} fired while all was well")
    for name, job in sorted(surprising):
        say_whether(False, f"{name} of {job} fired, and nothing was done for it")
    for name in sorted(untried):
        word = "skipped" if name in _UNPROVOKED else "WRONG  "
        say(f"{word} {name} was not provoked: {_UNPROVOKED.get(name, 'it should be')}")
    fired_of = f"{len(expected) - len(silent)} / {len(expected)}"
    say(f"alerts fired / injected: {fired_of}, of {len(known)} in the rules")
    say(f"alerts fired while all was well: {len(calm)}; fired without cause: {len(surprising)}")
    return len(silent) + len(calm) + len(surprising) + len(untried - _UNPROVOKED.keys())


def check_pages(promtool: Path, scene: Scene) -> int:
    """Lint every daemon's page of metrics; how many were wrong."""
    wrong = 0
    for job, daemon in scene.daemons.items():
        if daemon.process.poll() is None:
            problem = lint(promtool, daemon.get("/metrics"))
        else:
            problem = f"has ended with {daemon.process.returncode}: {daemon.errors[-1000:]}"
        wrong += bool(problem)
        say_whether(not problem, f"promtool check metrics, /metrics of {job} {problem}".rstrip())
    return wrong


def run(folder: Path) -> int:
    """Do all of it; how much was wrong."""
    promtool, program = tools.promtool(), tools.prometheus()
    rules = folder / "alerts.yaml"
    rules.write_text(shortened(RULES.read_text()))
    known = {
        rule["alert"] for group in yaml.safe_load(rules.read_text())["groups"] for rule in group["rules"]
    }
    say(
        f"{RULES.relative_to(ROOT)} with each `for:` divided by {SHORTER}, scraped and evaluated every second"
    )
    began = time.time()
    prometheus = Prometheus(program, folder, rules)
    with contextlib.ExitStack() as stack:
        scene = stack.enter_context(Scene(folder))
        prometheus.scrape(scene.addresses())
        stack.enter_context(prometheus)
        # Prometheus takes some seconds to look for targets at all, which is what Absent is about.
        eventually(
            lambda: len(prometheus.at("up == 1")) == len(scene.daemons) and not prometheus.firing(),
            "every daemon is scraped",
        )
        watch = Watch(prometheus)
        watch.until([("calm", "")], _CALM_SECONDS)
        calm = set(watch.fired)
        injected = scene.faults()
        from_here = time.monotonic()
        for fault in injected:
            fault.begin()
            prometheus.scrape(scene.addresses())
            watch.look()
        watch.until([fault.alert for fault in injected], _FAULT_SECONDS)
        health = [target["health"] for target in prometheus.scraped()]
        loaded = [rule["health"] for rule in prometheus.rules()]
        wrong = check_pages(promtool, scene)
        for fault in (
            Fault("a daemon is killed", ("BedrockPollerDown", "well"), scene.daemons["well"].kill),
            Fault("nothing is scraped any more", ("BedrockPollerAbsent", ""), lambda: prometheus.scrape({})),
        ):
            injected.append(fault)
            fault.begin()
            watch.until([fault.alert], _END_SECONDS)
        missing, panels = without_data(prometheus, began, time.time())
    wrong += judge(from_here, known, calm, injected, watch) + len(missing)
    for line in missing:
        say_whether(False, f"no data: {line}")
    say(f"targets up: {health.count('up')} / {len(health)}")
    say(f"rules loaded: {loaded.count('ok')} / {len(known)}")
    empty = {line.partition(":")[0] for line in missing}
    say(f"panels with data / panels: {panels - len(empty)} / {panels}")
    return wrong + (health.count("up") != len(health)) + (loaded.count("ok") != len(known))


def main() -> int:
    """Run it in a folder of its own."""
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="prometheus-e2e-") as folder:
            wrong = run(Path(folder))
    except tools.MissingError as error:
        sys.stderr.write(f"prometheus-e2e: {error}\n")
        return 1
    say(f"prometheus-e2e: {'ok' if not wrong else f'{wrong} things wrong'}, {time.monotonic() - began:.0f} s")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
