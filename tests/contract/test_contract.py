"""Version 0.1.0 as it was recorded: what users have written, stored and scripted for it goes on to work.

`record.py` made the recordings. Where this version differs on purpose stands in `differences.py`, with the
reason; every other difference fails here, and so does a row there that nothing needs any more. Prose is not
compared: help texts, messages, descriptions.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from standardwebhooks.webhooks import Webhook

from tests.contract import differences, running
from tests.contract.comparing import Comparison, parse, place_of, without
from tests.contract.running import CONFIGURATIONS, DATA, LAST_STEP, SECRET
from tests.contract.service import Receiver, Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("unlogged")

# Nothing listens there.
NOWHERE = running.sinks("http://127.0.0.1:1/hook", "http://127.0.0.1:2/hook")
HASTE = {
    "BEDROCK_POLLER_AWS__REQUESTS_PER_SECOND": "1000",
    "BEDROCK_POLLER_POLL__INTERVAL": "100ms",
    # Every poll is a complete one, as in the recording, with less than an hour between them.
    "BEDROCK_POLLER_POLL__FULL_SCAN_INTERVAL": "100ms",
    # So that what fails becomes a dead letter nevertheless.
    "BEDROCK_POLLER_SINKS__FLAKY__RETRY__GIVE_UP_AFTER": "1ms",
}


def recorded(name: str) -> Any:
    """The content of a recording."""
    return json.loads((DATA / name).read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configurations, the files that they name, and the store of 0.1.0."""
    folder = tmp_path_factory.mktemp("contract")
    running.prepare(folder)
    for name in ("poller.db", "before.db"):
        shutil.copyfile(DATA / "store.sqlite", folder / name)
    return folder


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """Bedrock at the last step that the store knows."""
    with Service(recorded("service.json")) as found:
        found.step = LAST_STEP
        yield found


@pytest.fixture(scope="module")
def environ(root: Path, service: Service) -> dict[str, str]:
    """The environment of a command over the store of 0.1.0, with its configuration."""
    config = {"BEDROCK_POLLER_CONFIG": str(root / "work.yaml")}
    return running.environment(root, **running.aws(service.url), **NOWHERE, **HASTE, **config)


@pytest.fixture(scope="module")
def migrated(root: Path, environ: dict[str, str]) -> dict[str, Any]:
    """How the store of 0.1.0 was migrated."""
    return named(running.run(["migrate"], environ), root)


@pytest.fixture(scope="module")
def happened(root: Path) -> dict[str, Any]:
    """What this version does with an empty store and the jobs of the recording."""
    folder = root / "happened"
    running.prepare(folder)
    with Service(recorded("service.json")) as bedrock, Receiver(204) as ops, Receiver(503) as flaky:
        config = {"BEDROCK_POLLER_CONFIG": str(folder / "work.yaml")}
        where = running.aws(bedrock.url) | running.sinks(ops.url, flaky.url)
        variables = running.environment(folder, **where, **HASTE, **config)
        runs = []
        for bedrock.step in range(LAST_STEP + 1):
            runs.append(running.run(["once"], variables))
        return {"runs": runs, "requests": ops.requests, "rows": running.rows_of(folder / "poller.db")}


def named(transcript: dict[str, Any], root: Path) -> dict[str, Any]:
    """A transcript with the folder's name as recorded."""
    found: dict[str, Any] = json.loads(json.dumps(transcript).replace(str(root), "{root}"))
    return found


def check(found: Mapping[str, Any], table: Mapping[str, str]) -> None:
    """See that a table lists all differences that were found, and no other."""
    unexpected = [f"{place} differs: {found[place]}" for place in found if place not in table]
    unneeded = [f"{place} does not differ; remove its row" for place in table if place not in found]
    assert not unexpected + unneeded, "\n".join(unexpected + unneeded)


def settings_of(root: Path, name: str) -> Any:
    """A configuration as this version reads it."""
    from poller.app.configuration import load_settings

    variables = json.loads((CONFIGURATIONS / "environment.json").read_text()) if name == "environment" else {}
    receivers = NOWHERE if name == "work" else {}
    path = None if name in {"environment", "nothing"} else root / f"{name}.yaml"
    found = load_settings(path, running.environment(root, **variables, **receivers))
    return json.loads(found.model_dump_json().replace(str(root), "{root}"))


def test_every_configuration_is_read_as_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Minimal, annotated, everything, by the environment and none at all: the same values as 0.1.0 read."""
    for name, value in running.environment(root).items():
        monkeypatch.setenv(name, value)
    for name in ("XDG_STATE_HOME", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    comparison = Comparison()
    for name, old in recorded("settings.json").items():
        comparison.compare(old, settings_of(root, name), f"{name}: ")
    check(comparison.differing, differences.SETTINGS)


def test_what_was_accepted_is_accepted(root: Path) -> None:
    """One fragment for each rule: accepted as by 0.1.0, or refused at the same places."""
    from poller.app.configuration import load_settings
    from poller.errors import ConfigError

    refused, accepted, places = {}, {}, {}
    verdicts = recorded("fragments.json")
    fragments = yaml.safe_load((CONFIGURATIONS / "fragments.yaml").read_text())
    assert fragments.keys() == verdicts.keys()
    for name, text in fragments.items():
        path, before = root / "fragment.yaml", verdicts[name]
        path.write_text(text)
        try:
            load_settings(path, running.environment(root))
            after = None
        except ConfigError as error:
            after = [str(problem).replace(str(root), "{root}") for problem in error.problems]
        if before is None and after is not None:
            refused[name] = after
        elif before is not None and after is None:
            accepted[name] = before
        elif before is not None and after is not None and {*map(place_of, before)} != {*map(place_of, after)}:
            places[name] = (before, after)
    check(refused, differences.REFUSED)
    check(accepted, differences.ACCEPTED)
    check(places, differences.PLACES)


def test_the_store_is_migrated_with_every_row(root: Path, migrated: dict[str, Any]) -> None:
    """Each row and column of 0.1.0 is there after the migration, and the events byte for byte."""
    assert migrated["exit_code"] == 0
    before, after = running.rows_of(root / "before.db"), running.rows_of(root / "poller.db")
    comparison = Comparison()
    comparison.compare(before, after, "")
    check(comparison.differing, differences.STORE)
    bodies = "".join(row["body"] + "\n" for row in after["events"])
    assert bodies == (DATA / "events.jsonl").read_text()


def test_commands_over_the_store_answer_as_before(
    root: Path, environ: dict[str, str], migrated: dict[str, Any], service: Service
) -> None:
    """Lists, tables, JSON, `show`, replays and dry runs: the same exit codes, members and values."""
    transcripts = recorded("commands.json")
    comparison = Comparison()
    comparison.compare(transcripts["migrate"]["exit_code"], migrated["exit_code"], "migrate: exit_code")
    for name, argv in running.work_commands(recorded("keys.json")).items():
        old = transcripts[name]
        service.step = LAST_STEP + (name == "once without writing")
        new = named(running.run(argv, environ), root)
        assert new["argv"] == old["argv"]
        comparison.compare(old["exit_code"], new["exit_code"], f"{name}: exit_code")
        before, after = parse(old["stdout"]), parse(new["stdout"])
        if name == "sinks test":
            before, after = timeless(before), timeless(after)
        elif name == "once without writing":
            before, after = ({row["event_id"]: row for row in rows} for rows in (before, after))
        comparison.compare(before, after, f"{name}: ")
    service.step = LAST_STEP
    check(comparison.differing, differences.ANSWERS)
    check(dict.fromkeys(comparison.added), differences.ADDED_TO_ANSWERS)


def timeless(event: dict[str, Any]) -> dict[str, Any]:
    """An event without what depends on the moment in which it was made up."""
    data = {key: value for key, value in event["data"].items() if not key.endswith("_at")}
    return {key: value for key, value in event.items() if key not in {"id", "time"}} | {"data": data}


def test_commands_without_a_store_end_as_before(root: Path) -> None:
    """Checks, schemas, policies and wrong use: the same exit codes, and the same places of problems."""
    transcripts = recorded("commands.json")
    comparison = Comparison()
    for name, (argv, variables) in running.plain_commands(root).items():
        old, new = transcripts[name], named(running.run(argv, running.environment(root, **variables)), root)
        assert new["argv"] == old["argv"]
        comparison.compare(old["exit_code"], new["exit_code"], f"{name}: exit_code")
        if name.startswith("check-config"):
            before, after = ({*map(place_of, each["stderr"].splitlines())} for each in (old, new))
            comparison.compare(sorted(before), sorted(after), f"{name}: problems")
    check(comparison.differing, differences.ENDS)


def test_schemas_describe_what_they_did(root: Path) -> None:
    """Each key, type, default and choice of the printed schemas is still there."""
    comparison = Comparison()
    for name in ("schema", "schema of events"):
        old = recorded("commands.json")[name]
        new = running.run(old["argv"], running.environment(root))
        comparison.schema(json.loads(old["stdout"]), json.loads(new["stdout"]), name)
    check(comparison.differing, differences.SCHEMAS)
    check(dict.fromkeys(comparison.added), differences.ADDED_TO_SCHEMAS)


def test_policies_allow_what_they_did(root: Path) -> None:
    """Each action, with its effect, resources and conditions, is in the policies as before."""
    comparison = Comparison()
    for name, old in recorded("commands.json").items():
        if name.startswith("iam-policy") and not old["exit_code"]:
            argv = [word.replace("{root}", str(root)) for word in old["argv"]]
            new = running.run(argv, running.environment(root))
            comparison.compare(permissions(old["stdout"]), permissions(new["stdout"]), f"{name}: ")
    found = comparison.differing | dict.fromkeys(comparison.added)
    check(found, differences.POLICIES)


def permissions(policy: str) -> dict[str, Any]:
    """The statements of a policy by each of their actions, without their names."""
    found: dict[str, list[Any]] = {}
    for statement in json.loads(policy)["Statement"]:
        rest = {key: value for key, value in statement.items() if key not in {"Sid", "Action"}}
        for action in statement["Action"]:
            found.setdefault(action, []).append(rest)
    return {action: sorted(rests, key=json.dumps) for action, rests in found.items()}


def test_every_command_argument_and_option_is_still_there(root: Path) -> None:
    """The same names, and each takes at least what it took."""
    variables = running.environment(root)
    today = dict(running.walk(lambda argv: str(running.run(argv, variables)["stdout"])))
    comparison = Comparison()
    for name, text in recorded("help.json").items():
        if name not in today:
            comparison.differing[name] = ("a command", "(missing)")
            continue
        comparison.compare(running.arguments_of(text), running.arguments_of(today[name]), f"{name} arguments")
        options = running.options_of(today[name])
        for option, takes in running.options_of(text).items():
            after = options.get(option, "(missing)")
            if not {*takes.strip("<>").split("|")} <= {*after.strip("<>").split("|")}:
                comparison.differing[f"{name} {option}"] = (takes, after)
    check(comparison.differing, differences.COMMANDS)


def test_the_same_happenings_make_the_same_events(happened: dict[str, Any]) -> None:
    """From an empty store: the same ids in the same order for each job, with the same members and values.

    Without what was added they are the same bytes, but for the time at which they were seen.
    """
    assert [run["exit_code"] for run in happened["runs"]] == [0] * (LAST_STEP + 1)
    comparison = Comparison()
    lines = (DATA / "events.jsonl").read_text().splitlines()
    before = [json.loads(line) for line in lines]
    after = [json.loads(row["body"]) for row in happened["rows"]["events"]]
    assert ids_by_job(after) == ids_by_job(before)
    new = {event["id"]: event for event in after}
    for old, line in zip(before, lines, strict=True):
        same = new[old["id"]]
        same["data"]["observed_at"] = old["data"]["observed_at"]
        if same["type"] == "bedrock-poller.job.disappeared":
            same["time"] = old["time"]  # nothing but our own clock knows it
        comparison.compare(old, same, "")
        if not comparison.differing:
            assert json.dumps(without(same, comparison.added), separators=(",", ":")) == line
    check(comparison.differing, differences.EVENTS)
    check(dict.fromkeys(comparison.added), differences.ADDED_TO_EVENTS)


def ids_by_job(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The ids of the events of each job, in their order."""
    found: dict[str, list[str]] = {}
    for event in events:
        found.setdefault(event["subject"], []).append(event["id"])
    return found


def test_standard_output_shows_the_same_events(happened: dict[str, Any]) -> None:
    """Each run writes the same events, the bytes of each on a line, those of one job in their order."""
    bodies = {row["id"]: row["body"] for row in happened["rows"]["events"]}
    for step, run in enumerate(happened["runs"]):
        before, after = recorded("commands.json")[f"once at step {step}"]["stdout"], run["stdout"]
        told = [json.loads(line) for line in after.splitlines()]
        assert ids_by_job(told) == ids_by_job([json.loads(line) for line in before.splitlines()])
        assert after == "".join(bodies[event["id"]] + "\n" for event in told)


def test_receivers_get_the_same_requests(happened: dict[str, Any]) -> None:
    """The same events by the same method, path and headers; the body is the event's bytes, and signed."""
    requests = {each["headers"]["webhook-id"]: each for each in happened["requests"]}
    bodies = {row["id"]: row["body"] for row in happened["rows"]["events"]}
    before = [each for each in recorded("requests.json") if each["sink"] == "ops"]
    told = [json.loads(each["body"]) for each in happened["requests"]]
    assert ids_by_job(told) == ids_by_job([json.loads(each["body"]) for each in before])
    for old in before:
        new = requests[old["headers"]["webhook-id"]]
        assert (new["method"], new["path"]) == (old["method"], old["path"])
        assert new["headers"].keys() >= old["headers"].keys()
        for name in ("content-type", "x-team"):
            assert new["headers"][name] == old["headers"][name]
        assert new["headers"]["user-agent"].startswith("bedrock-poller/")
        assert new["body"] == bodies[new["headers"]["webhook-id"]]
        Webhook(SECRET).verify(new["body"], new["headers"])


def test_the_log_tells_what_it_did(happened: dict[str, Any]) -> None:
    """Each line that `once` logged is logged, with the same keys and level."""
    gone: dict[str, list[str]] = {}
    today: dict[tuple[str, str], set[str]] = {}
    for run in happened["runs"]:
        for line in run["log"]:
            today.setdefault((line["event"], line["level"]), set()).update(line)
    for step in range(LAST_STEP + 1):
        for line in recorded("commands.json")[f"once at step {step}"]["log"]:
            if missing := line.keys() - today.get((line["event"], line["level"]), set()):
                gone[line["event"]] = sorted(missing)
    check(gone, differences.LOG)


@pytest.mark.slow
def test_a_daemon_answers_as_before(root: Path, service: Service, migrated: dict[str, Any]) -> None:
    """The metrics' names and labels, the API's members and values, and health."""
    old = recorded("pages.json")
    wanted = {each for each in old["series"] if not each.startswith(tuple(differences.METRICS))}
    environ = running.environment(
        root, **running.aws(service.url), BEDROCK_POLLER_CONFIG=str(root / "watching.yaml")
    )
    pages, _, exit_code = running.ask(environ, running.DATA.parents[2], wanted.issubset)
    assert exit_code == old["exit_code"]
    comparison = Comparison()
    for path, before in old["pages"].items():
        for page in (before, pages[path]):
            if page["content_type"] == "application/json":
                page["body"] = json.loads(page["body"])
        if before["status"] == 400:
            before["body"], pages[path]["body"] = ([*page["body"]] for page in (before, pages[path]))
        comparison.compare(before, pages[path], f"{path}: ")
    check(comparison.differing, differences.PAGES)
    check(dict.fromkeys(comparison.added), differences.ADDED_TO_PAGES)


def test_every_metric_is_declared_as_before() -> None:
    """The same name, type and labels; a scrape shows some of them only once something has happened."""
    from poller.metrics import Metrics

    today = running.declared(Metrics().registry)
    gone = {name: each for name, each in recorded("metrics.json").items() if today.get(name) != each}
    check(gone, differences.METRICS)


def test_a_sink_of_another_package_still_works(tmp_path: Path) -> None:
    """What 0.1.0's documentation told others to import is where it was; the sink keeps every promise."""
    from poller.errors import DeliveryError
    from poller.sinks import conformance
    from tests.contract.third_party import FileSettings, FileSink

    def make(path: Path = tmp_path / "events") -> FileSink:
        return FileSink("file", FileSettings(path=path))

    async def keep_promises() -> None:
        for promise in conformance.CHECKS:
            await promise(conformance.Subject(make=make))
        with pytest.raises(DeliveryError, match="cannot write: Is a directory") as failed:
            await make(tmp_path).send([conformance.sample_event()])
        assert failed.value.reason == "sink"

    asyncio.run(keep_promises())
    assert (tmp_path / "events").read_bytes()
