"""Runs the program, whichever version of it is importable, and notes what it answers."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

DATA = Path(__file__).parent / "data"
CONFIGURATIONS = DATA / "configurations"
SECRET = "whsec_YSBrZXkgb2YgdGhpcnR5LXR3byBvY3RldHMuLi4uLi4="
LAST_STEP = 4
"""The last step of the service that is in the store; the one after it is what a dry run would record."""

# Programs print to the width of the terminal; this is wide enough that nothing is broken.
_COLUMNS = "200"


def environment(root: Path, **variables: str) -> dict[str, str]:
    """Variables for the program, and no others: its folder, its AWS, and what is given."""
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "NO_COLOR": "1",
        "COLUMNS": _COLUMNS,
        "HOME": str(root),
        "AWS_ACCESS_KEY_ID": "AKIDCONTRACT",
        "AWS_SECRET_ACCESS_KEY": "not-a-secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }


def aws(url: str) -> dict[str, str]:
    """Variables that make the program take a server for AWS."""
    return {f"AWS_ENDPOINT_URL_{name}": url for name in ("BEDROCK", "BEDROCK_RUNTIME", "STS")}


def sinks(ops: str, flaky: str) -> dict[str, str]:
    """Variables that tell `work.yaml` where its receivers are."""
    return {"BEDROCK_POLLER_SINKS__OPS__URL": ops, "BEDROCK_POLLER_SINKS__FLAKY__URL": flaky}


def prepare(root: Path) -> None:
    """Write the configurations into a folder, and the files that they name."""
    import trustme

    root.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    texts = {
        "external_id": "an-external-id\n",
        "secret": SECRET + "\n",
        "header": "a-header-of-a-file\n",
        "url": "https://hooks.example.com/by-file\n",
        "users": "grafana:$2b$10$hDJJUlT/JJXumAvlMbbJz.8c6fF6vy.uedBkfnH8/Ha3kn5J.2aIu\n",
        "tokens": "a-token-of-thirty-two-characters\n",
        "ca.pem": authority.cert_pem.bytes().decode(),
        "server.pem": issued.cert_chain_pems[0].bytes().decode(),
        "server.key": issued.private_key_pem.bytes().decode(),
    }
    texts |= {
        path.name: path.read_text().replace("{root}", str(root)) for path in CONFIGURATIONS.glob("*.yaml")
    }
    for name, text in texts.items():
        (root / name).write_text(text)
        (root / name).chmod(0o600)


def run(argv: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
    """Run one command line in this process, as `python -m poller` would.

    Returns:
        `argv`, `exit_code`, `stdout`, `stderr` and, line by line, `log`.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2))
    code: object = 0
    with (
        mock.patch.dict(os.environ, environ, clear=True),
        mock.patch.object(sys, "argv", ["bedrock-poller", *argv]),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_module("poller", run_name="__main__")
        except SystemExit as done:
            code = done.code
    found: dict[str, Any] = {"argv": list(argv), "exit_code": code or 0}
    for name, stream in (("stdout", out), ("stderr", err)):
        stream.seek(0)
        found[name] = stream.read()
    found["stderr"], found["log"] = _without_log(found["stderr"])
    return found


def _without_log(text: str) -> tuple[str, list[dict[str, Any]]]:
    """What was written on standard error, without the lines of the log; and these, without their times."""
    rest, log = "", []
    for line in text.splitlines(keepends=True):
        if line.startswith("{") and '"timestamp"' in line:
            told = json.loads(line)
            log.append({key: value for key, value in told.items() if key not in {"timestamp", "seconds"}})
        else:
            rest += line
    return rest, log


def commands_of(help_text: str) -> list[str]:
    """The commands that a help text lists."""
    return re.findall(r"^│ (\S+)", _panel(help_text, "Commands"), re.MULTILINE)


def options_of(help_text: str) -> dict[str, str]:
    """The options that a help text lists, with what they take: `<int>`, `<table|json>`, `TIME`."""
    line = re.compile(r"^│ {1,4}(\* +)?(--\S+(?: +--\S+)*) +(\S+(?: \S+)*)", re.MULTILINE)
    found = line.findall(_panel(help_text, "Options"))
    return {name: takes + " required" * bool(star) for star, names, takes in found for name in names.split()}


def arguments_of(help_text: str) -> list[str]:
    """The arguments of a help text's first line: `{arn}`, `[ID]...`."""
    line = next(line for line in help_text.splitlines() if "Usage:" in line)
    return re.findall(r"\{\S+|(?<!\S)\[(?!OPTIONS)\S+|[A-Z]{2,}\S*", line.partition("[OPTIONS]")[2])


def _panel(help_text: str, title: str) -> str:
    _, _, rest = help_text.partition(f"╭─ {title} ")
    return rest.partition("╰")[0]


def walk(show: Callable[[list[str]], str], path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Every command and its help text, the program itself as the empty text."""
    text = show([*path, "--help"])
    yield " ".join(path), text
    for name in commands_of(text):
        yield from walk(show, (*path, name))


def work_commands(rows: Mapping[str, str]) -> dict[str, list[str]]:
    """The commands to run with `work.yaml` and its store, by name.

    Args:
        rows: Keys of rows to show: `job`, `event`, `delivery` and `target`.
    """
    lists = {f"{what} list": [what, "list"] for what in ("targets", "jobs", "events", "deliveries")}
    selections = {
        "jobs list failed": ["jobs", "list", "--status", "Failed", "--region", "us-east-1"],
        "jobs list by kind": ["jobs", "list", "--kind", "async_invoke", "--account", "123456789012"],
        "events list of a job": ["events", "list", "--job", rows["job"], "--limit", "1"],
        "deliveries list dead": ["deliveries", "list", "--sink", "flaky", "--state", "dead"],
        "deliveries list of a time": [
            *("deliveries", "list", "--since", "2026-11-20T10:00:00Z", "--until", "2026-11-20T12:00:00Z"),
            *("--job", rows["job"]),
        ],
        "deliveries list of an event": ["deliveries", "list", "--event", rows["event"]],
    }
    return {
        **lists,
        **{f"{name} as json": [*argv, "--output", "json"] for name, argv in (lists | selections).items()},
        "targets show": ["targets", "show", rows["target"]],
        "jobs show": ["jobs", "show", rows["job"]],
        "events show": ["events", "show", rows["event"]],
        "deliveries show": ["deliveries", "show", rows["delivery"]],
        "jobs show of none": [
            "jobs",
            "show",
            "arn:aws:bedrock:us-east-1:123456789012:async-invoke/none00000000",
        ],
        "deliveries show of none": ["deliveries", "show", "999999"],
        "deliveries list of an unknown state": ["deliveries", "list", "--state", "lost"],
        "replay of dead letters": ["deliveries", "replay", "--dead", "--dry-run"],
        "replay of an event": ["deliveries", "replay", "--event", rows["event"], "--dry-run"],
        "replay of ids": ["deliveries", "replay", rows["delivery"], "1", "--dry-run"],
        "replay of a time": [
            "deliveries",
            "replay",
            "--sink",
            "ops",
            "--since",
            "2026-11-20T12:00:00Z",
            "--dry-run",
        ],
        "replay of all": ["deliveries", "replay"],
        "replay of none": ["deliveries", "replay", "999999", "--dry-run"],
        "replay to an unknown sink": ["deliveries", "replay", "--sink", "nobody", "--dry-run"],
        "sinks list": ["sinks", "list"],
        "sinks test": ["sinks", "test", "audit"],
        "sinks test of none": ["sinks", "test", "nobody"],
        "sinks unpark": ["sinks", "unpark", "ops"],
        "once without writing": ["once", "--dry-run"],
    }


def plain_commands(root: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """The commands that need no store, by name, with further variables."""
    variables: dict[str, str] = json.loads((CONFIGURATIONS / "environment.json").read_text())
    files = ("minimal", "annotated", "everything", "broken", "missing")
    given = {f"check-config of {name}": ["check-config", "--config", f"{root}/{name}.yaml"] for name in files}
    policies = {
        "the daemon": [],
        "a profile": ["--profile", "research"],
        "an account": ["--account", "555555555555", "--kms-key", "arn:aws:kms:eu-west-1:111111111111:key/1"],
        "the roles": ["--member"],
        "the roles of an account": ["--member", "--account", "111111111111"],
        "the organization": ["--organization"],
        "trust": ["--trust", "--principal", "arn:aws:iam::555555555555:role/bedrock-poller"],
        "trust with an id": [
            *(
                "--trust",
                "--principal",
                "arn:aws:iam::555555555555:role/bedrock-poller",
                "--external-id",
                "an-id",
            )
        ],
        "two at once": ["--member", "--trust"],
        "trust in nobody": ["--trust"],
    }
    config = ["--config", f"{root}/everything.yaml"]
    found = {
        "version": ["version"],
        "schema": ["schema"],
        "schema of events": ["schema", "event"],
        "schema of nothing": ["schema", "nothing"],
        "no command": [],
        "an unknown command": ["fly"],
        "an unknown option": ["run", "--fast"],
        "an unknown level": ["version", "--log-level", "loud"],
        "an option before the command": [*config, "check-config"],
        "an option with its value": ["check-config", f"--config={root}/minimal.yaml", "--log-format=json"],
        "a store that is not there": ["jobs", "list", "--config", f"{root}/everything.yaml"],
        **given,
        **{f"iam-policy for {name}": ["iam-policy", *config, *argv] for name, argv in policies.items()},
    }
    return {
        **{name: (argv, {}) for name, argv in found.items()},
        "check-config of the environment": (["check-config"], variables),
        "check-config of a variable": (["check-config"], {"BEDROCK_POLLER_CONFIG": f"{root}/minimal.yaml"}),
    }


PAGES = (
    "/-/healthy",
    "/-/ready",
    "/api/jobs",
    "/api/jobs?status=Failed&region=us-east-1&limit=1",
    "/api/events?limit=3",
    "/api/events?type=bedrock-poller.job.disappeared",
    "/api/deliveries",
    "/api/deliveries?sink=flaky&state=dead",
    "/api/jobs?limit=0",
    "/api/jobs?color=red",
    "/api/nothing",
)
"""What a daemon is asked for; `/metrics` comes by itself."""


def ask(
    environ: Mapping[str, str], folder: Path, done: Callable[[set[str]], bool]
) -> tuple[dict[str, dict[str, Any]], set[str], int]:
    """Run the daemon until its metrics are complete, and ask it for every page.

    Args:
        environ: Its environment, which names its configuration.
        folder: Where it starts.
        done: Whether these are all the metrics to wait for, as `series_of` gives them.

    Returns:
        `status`, `content_type` and `body` by path; the metrics; the exit code after SIGTERM.

    Raises:
        TimeoutError: The metrics were not complete in time.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "poller", "run", "--log-format", "json"],
        env=dict(environ),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        url = _url_of(process)
        limit = time.monotonic() + 20
        while not done(series := series_of(_get(url + "/metrics")["body"])):
            if time.monotonic() > limit:
                raise TimeoutError(f"the metrics are {sorted(series)}")
            time.sleep(0.05)
        pages = {path: _get(url + path) for path in PAGES}
        process.send_signal(signal.SIGTERM)
        return pages, series, process.wait(20)
    finally:
        process.kill()
        process.communicate()


def _url_of(process: subprocess.Popen[bytes]) -> str:
    said: Iterable[bytes] = process.stderr or ()
    lines = []
    for line in said:
        lines.append(line)
        with contextlib.suppress(ValueError):
            told = json.loads(line)
            if told["event"] == "web.listening":
                return str(told["url"])
    raise AssertionError(b"".join(lines).decode())


def _get(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - loopback
            status, headers, body = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, headers, body = error.code, error.headers, error.read()
    return {"status": status, "content_type": headers["content-type"], "body": body.decode()}


def series_of(exposition: str) -> set[str]:
    """Each sample's name and its labels' names: `bedrock_poller_jobs{account_id,kind,region,status}`."""
    found = set()
    for line in exposition.splitlines():
        if match := re.match(r"(bedrock_poller_\w+)(?:\{(.*)\})? ", line):
            labels = ",".join(sorted(re.findall(r'(\w+)="', re.sub(r"\\.", "", match[2] or ""))))
            found.add(f"{match[1]}{{{labels}}}")
    return found


def rows_of(store: Path) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table of a store, bytes as text."""
    import sqlite3

    found: dict[str, list[dict[str, Any]]] = {}
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        for (table,) in tables.fetchall():
            rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608 - names of tables
            found[table] = [
                {key: value.decode() if isinstance(value := row[key], bytes) else value for key in row.keys()}  # noqa: SIM118
                for row in rows
            ]
    return found


def declared(registry: Any) -> dict[str, dict[str, Any]]:
    """The type and the labels of each metric, by its name."""
    found = {}
    for collector in registry._collector_to_names:
        (family,) = collector.collect()
        found[family.name] = {"type": family.type, "labels": sorted(collector._labelnames)}
    return dict(sorted(found.items()))
