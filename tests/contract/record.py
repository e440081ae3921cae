"""Records what version 0.1.0 does, into `tests/contract/data`: `python -m tests.contract.record`.

Run it by hand, and only if more of 0.1.0 is to be recorded: what 0.1.0 did does not change. It unpacks the
wheel of 0.1.0 and starts itself again with that as `poller`. The simulator, the jobs and both clocks (of the
process and of the database) are fixed, so a second recording is equal to the first.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import quote

import yaml

from tests.contract import running
from tests.contract.running import DATA, LAST_STEP
from tests.contract.service import ACCOUNT, Receiver

REPOSITORY = Path(__file__).parents[2]
WHEEL = REPOSITORY / "tests" / "data" / "bedrock_poller-0.1.0-py3-none-any.whl"
# Fixed, because messages and addresses in the store name them.
ROOT = Path("/tmp/bedrock-poller-contract")
OPS_PORT, FLAKY_PORT, BEDROCK_PORT = 39471, 39472, 39473
BEGAN = datetime(2026, 11, 20, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
BATCH_END = ("Completed", "PartiallyCompleted", "Failed", "Stopped", "Expired")
SEEN: dict[tuple[str, str], dict[str, None]] = {}
"""Every job that a list has shown, in the order in which it did."""


class Clock:
    """The time, for the process, its database and its simulator."""

    now = BEGAN

    @classmethod
    def seconds(cls) -> float:
        """The same since the epoch."""
        return cls.now.timestamp()


class _Real(type(datetime)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


class _FixedDatetime(datetime, metaclass=_Real):
    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return Clock.now.astimezone(tz)


def main() -> None:
    """Unpack 0.1.0, and record with it in another process."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(folder)
        environ = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPOSITORY}", "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "tests.contract.record", "--with", folder]
        subprocess.run(command, cwd=folder, env=environ, check=True)


def record(code: Path) -> None:
    """Record everything; `poller` is 0.1.0, unpacked in a folder."""
    poller = importlib.import_module("poller")
    if poller.__version__ != "0.1.0" or not Path(str(poller.__file__)).is_relative_to(code):
        raise RuntimeError(f"{poller.__file__} is not 0.1.0")
    _fix_the_clock(poller)
    random.seed(1)
    shutil.rmtree(ROOT, ignore_errors=True)
    running.prepare(ROOT)
    simulators: Any = importlib.import_module("poller.simulator")
    simulator = simulators.Simulator(seed=7, clock=lambda: Clock.now, page_size=1000)
    server = simulators.SimulatorServer(simulator, port=BEDROCK_PORT)
    with server, Receiver(204, OPS_PORT) as ops, Receiver(503, FLAKY_PORT) as flaky:
        environ = running.environment(
            ROOT,
            **running.aws(server.url),
            **running.sinks(ops.url, flaky.url),
            BEDROCK_POLLER_CONFIG=str(ROOT / "work.yaml"),
        )
        _record_configurations()
        steps, transcripts = _work(simulator, environ, ops, flaky)
        store = ROOT / "poller.db"
        assert not store.with_name("poller.db-wal").exists()
        _copy(store, DATA / "store.sqlite")
        rows = running.rows_of(store)
        (DATA / "events.jsonl").write_text("".join(row["body"] + "\n" for row in rows["events"]))
        _write("service.json", steps)
        transcripts |= _transcripts(environ, rows)
        _record_pages(code, environ)
    _write("metrics.json", running.declared(importlib.import_module("poller.metrics").Metrics().registry))
    _write("commands.json", transcripts)
    _write(
        "help.json", dict(running.walk(lambda argv: running.run(argv, running.environment(ROOT))["stdout"]))
    )
    shutil.rmtree(ROOT)


def _fix_the_clock(poller: Any) -> None:
    import sqlalchemy as sa
    from sqlalchemy.ext.compiler import compiles

    for module in pkgutil.walk_packages(poller.__path__, "poller."):
        if not module.name.endswith(("__main__", "migrations.env")):
            loaded = importlib.import_module(module.name)
            if getattr(loaded, "datetime", None) is datetime:
                loaded.datetime = _FixedDatetime  # type: ignore[attr-defined]
    now = importlib.import_module("poller.store.dialects").database_now
    compiles(now, "sqlite")(lambda *_, **__: "contract_now()")

    @sa.event.listens_for(sa.Engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.create_function("contract_now", 0, Clock.seconds)


def _record_configurations() -> None:
    app: Any = importlib.import_module("poller.app.configuration")
    errors: Any = importlib.import_module("poller.errors")

    def read(path: Path | None, variables: dict[str, str]) -> Any:
        with mock.patch.dict(os.environ, running.environment(ROOT, **variables), clear=True):
            return app.load_settings(path, os.environ).model_dump(mode="json")

    where = running.sinks("http://127.0.0.1:1/hook", "http://127.0.0.1:2/hook")
    variables = json.loads((running.CONFIGURATIONS / "environment.json").read_text())
    settings = {
        name: read(ROOT / f"{name}.yaml", where if name == "work" else {})
        for name in ("minimal", "annotated", "everything", "work", "watching")
    }
    _write("settings.json", settings | {"environment": read(None, variables), "nothing": read(None, {})})
    verdicts: dict[str, list[str] | None] = {}
    for name, text in yaml.safe_load((running.CONFIGURATIONS / "fragments.yaml").read_text()).items():
        path = ROOT / "fragment.yaml"
        path.write_text(text)
        try:
            read(path, {})
            verdicts[name] = None
        except errors.ConfigError as error:
            verdicts[name] = [str(problem) for problem in error.problems]
    _write("fragments.json", verdicts)


def _work(
    simulator: Any, environ: dict[str, str], ops: Receiver, flaky: Receiver
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Poll once an hour; returns what the service showed at each step, and the transcripts of `once`."""
    jobs = _submit(simulator)
    steps: list[dict[str, Any]] = []
    transcripts: dict[str, Any] = {}
    requests: list[dict[str, Any]] = []
    for step in range(LAST_STEP + 1):
        Clock.now = BEGAN + step * HOUR
        _intervene(simulator, jobs, step)
        steps.append(_shown(simulator))
        ops.requests.clear()
        flaky.requests.clear()
        transcripts[f"once at step {step}"] = running.run(["once"], environ)
        requests += [{"step": step, "sink": "ops", **each} for each in ops.requests]
        requests += [{"step": step, "sink": "flaky", **each} for each in flaky.requests]
    _write("requests.json", requests)
    Clock.now = BEGAN + (LAST_STEP + 1) * HOUR
    steps.append(_shown(simulator))
    Clock.now = BEGAN + LAST_STEP * HOUR
    return steps, transcripts


def _copy(store: Path, copy: Path) -> None:
    """Copy a store; its bytes are the same again with the same rows."""
    copy.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(store)) as connection:
        connection.execute("VACUUM INTO ?", (str(copy),))


def _submit(simulator: Any) -> SimpleNamespace:
    """Jobs of both kinds in both regions that enter every status, some of them before the first poll."""

    def hours(*statuses: str) -> list[tuple[str, float]]:
        return [(status, 3600.0 * number) for number, status in enumerate(statuses)]

    yesterday, earlier, before = BEGAN - 24 * HOUR, BEGAN - 1.5 * HOUR, BEGAN - HOUR / 2
    east, west = {"region": "us-east-1"}, {"region": "eu-west-1"}
    for number, end in enumerate(BATCH_END):
        at = {"submitted_at": yesterday + number * HOUR / 4}
        simulator.submit_batch(
            **east, **at, name=f"old-{end.lower()}", script=hours("Submitted", "InProgress", end)
        )
    for end in ("Completed", "Failed"):
        simulator.submit_async(**west, submitted_at=yesterday, script=hours("InProgress", end))
    for number, end in enumerate(BATCH_END):
        # Known from the first poll on, and ended one after the other.
        life = ["Submitted", "Validating", "Scheduled", "InProgress", *["Stopping"] * (end == "Stopped"), end]
        region = west if number % 2 else east
        simulator.submit_batch(
            **region, submitted_at=earlier, name=f"nightly-{end.lower()}", script=hours(*life)
        )
        # Not there before the second poll.
        at = {"submitted_at": BEGAN + HOUR * (1.25 + number / 10)}
        simulator.submit_batch(**region, **at, name=f"later-{end.lower()} é 中 🚀", script=hours(*life[2:]))
    back_and_forth = hours("Submitted", "InProgress", "Scheduled", "InProgress", "Scheduled", "Completed")
    simulator.submit_batch(**east, submitted_at=earlier, name="back-and-forth", script=back_and_forth)
    simulator.submit_batch(
        **east,
        submitted_at=before,
        name="unheard-of",
        script=hours("Submitted", "Paused", "InProgress", "Completed"),
    )
    simulator.submit_async(**east, submitted_at=before, script=hours("InProgress", "Completed"))
    simulator.submit_async(
        **west, submitted_at=before, script=hours("InProgress", "Failed"), message='"No" such <bucket> ☃'
    )
    # Begun and ended between two polls.
    quick = {"submitted_at": BEGAN + HOUR * 2.2, "script": [("InProgress", 0.0), ("Completed", 60.0)]}
    simulator.submit_async(**east, **quick)
    simulator.submit_async(**east, submitted_at=before, script=[("InProgress", 0.0)])
    # Seen as soon as they begin.
    simulator.submit_async(**west, submitted_at=BEGAN + HOUR * 2.9, script=hours("InProgress", "Completed"))
    new = {"submitted_at": BEGAN + HOUR * 2.9, "timeout_hours": 48, "token": "a-token-of-its-own"}
    simulator.submit_batch(**east, **new, name="new", script=hours("Submitted", "Validating", "Failed"))
    # Still owed to a receiver that fails, after the last poll.
    owed = hours("InProgress", *["InProgress"] * 3, "Expired")
    simulator.submit_batch(**west, submitted_at=before, name="owed", script=owed)
    # What ends after the last poll, for a dry run.
    simulator.submit_batch(
        **west, submitted_at=before, name="last", script=[("InProgress", 0.0), ("Completed", 18000.0)]
    )
    vanishing = simulator.submit_async(**east, submitted_at=before, script=[("InProgress", 0.0)])
    return SimpleNamespace(vanishing=vanishing)


def _intervene(simulator: Any, jobs: SimpleNamespace, step: int) -> None:
    if step == 2:
        shelf = simulator._world.store.shelf(ACCOUNT, "us-east-1", "async_invoke")
        shelf.order.remove(shelf.jobs.pop(jobs.vanishing).key)


def _shown(simulator: Any) -> dict[str, Any]:
    """What the service shows of every job now, and what it says of those that have vanished."""
    wire: Any = importlib.import_module("poller.simulator.wire")

    def ask(region: str, path: str, query: str = "") -> dict[str, Any]:
        scope = f"AKID/20261120/{region}/bedrock/aws4_request"
        headers = {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=a, Signature=b"}
        answer = simulator.handle(wire.HttpRequest("GET", path, query, headers))
        error = {name: value for name, value in answer.headers.items() if name == "x-amzn-errortype"}
        return {"status": answer.status, "headers": error, "body": json.loads(answer.body)}

    def kind(region: str, listing: str, single: str) -> dict[str, Any]:
        (summaries,) = ask(region, listing, "maxResults=1000")["body"].values()
        keys = SEEN.setdefault((region, single), {})
        keys.update((job.get("jobArn") or job["invocationArn"], None) for job in summaries)
        return {"list": summaries, "get": {key: ask(region, single + quote(key, safe="")) for key in keys}}

    regions = {
        region: {
            "async_invoke": kind(region, "/async-invoke", "/async-invoke/"),
            "model_invocation_job": kind(region, "/model-invocation-jobs", "/model-invocation-job/"),
        }
        for region in ("us-east-1", "eu-west-1")
    }
    return {"at": Clock.now.isoformat(), "regions": regions}


def _transcripts(environ: dict[str, str], rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    dead = next(row for row in rows["deliveries"] if row["state"] == "dead")
    keys = {
        "job": dead["job_arn"],
        "event": dead["event_id"],
        "delivery": str(dead["id"]),
        "target": "prod/us-east-1/async_invoke",
    }
    _write("keys.json", keys)
    found: dict[str, Any] = {}
    for name, argv in running.work_commands(keys).items():
        Clock.now = BEGAN + (LAST_STEP + (name == "once without writing")) * HOUR
        found[name] = running.run(argv, environ)
    Clock.now = BEGAN + LAST_STEP * HOUR
    found["migrate"] = running.run(["migrate"], environ)
    for name, (argv, variables) in running.plain_commands(ROOT).items():
        found[name] = running.run(argv, running.environment(ROOT, **variables))
    return found


def _record_pages(code: Path, environ: dict[str, str]) -> None:
    """The pages of a daemon, which runs in a process of its own, by the true time."""
    shutil.copyfile(DATA / "store.sqlite", ROOT / "poller.db")
    watching = {"BEDROCK_POLLER_CONFIG": str(ROOT / "watching.yaml"), "PYTHONPATH": str(code)}

    def complete(series: set[str]) -> bool:
        return any("outbox_deliveries" in each for each in series)

    environ = {name: value for name, value in environ.items() if "SINKS__" not in name}
    pages, series, exit_code = running.ask(environ | watching, code, complete)
    _write("pages.json", {"exit_code": exit_code, "series": sorted(series), "pages": pages})


def _write(name: str, content: Any) -> None:
    text = json.dumps(content, indent=1).replace(str(ROOT), "{root}")
    (DATA / name).write_text(text + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--with"]:
        record(Path(sys.argv[2]))
    else:
        main()
