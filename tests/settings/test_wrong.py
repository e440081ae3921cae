"""Wrong configurations, each with the key, the line and the words that an operator gets to see (fault 42)."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from poller.errors import ConfigError
from poller.kinds import KINDS
from tests.settings.samples import load_text, problems_in

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-3c0ffee"
ROLE = "arn:aws:iam::111111111111:role/r"
LONG = "x" * 300

WRONG = [
    # Unknown keys
    ("wbe: {}", 1, "wbe", "not a known key; did you mean web?; the keys here are: poll, aws, targets"),
    ("poll:\n  intervall: 1s", 2, "poll.intervall", "did you mean interval?"),
    ("poll:\n  full-scan-interval: 1d", 2, "poll.full-scan-interval", "did you mean full_scan_interval?"),
    ("poll:\n  qqq: 1s", 2, "poll.qqq", "the keys here are: interval, idle_interval"),
    ("routes:\n  - sinks: [log]\n    mtach: {}", 3, "routes[0].mtach", "did you mean match?"),
    ("sinks:\n  a:\n    type: log\n    url: x", 4, "sinks.a.url", "here are: type, timeout"),
    ("sinks:\n  a:\n    type: log\n    retry: {first: 1s}", 4, "sinks.a.retry.first", "initial, max"),
    # Wrong types
    ("poll: 30s", 1, "poll", "must be a mapping with the keys interval"),
    ("poll: [1]", 1, "poll", "must be a mapping"),
    ("targets: prod", 1, "targets", "must be a list"),
    ("targets: [prod]", 1, "targets[0]", "must be a mapping with the keys name"),
    ("sinks: [log]", 1, "sinks", "must be a mapping"),
    ("sinks: {a: log}", 1, "sinks.a", "must be a mapping"),
    ("sinks:\n  a:\n", 2, "sinks.a", "has no value"),
    ("poll: {interval: }", 1, "poll.interval", "has no value"),
    ("poll: {concurrency: many}", 1, "poll.concurrency", "must be a whole number"),
    ("poll: {concurrency: 1.5}", 1, "poll.concurrency", "must be a whole number"),
    ("poll: {concurrency: true}", 1, "poll.concurrency", "must be a whole number"),
    ("poll: {concurrency: 0}", 1, "poll.concurrency", "at least 1"),
    ("poll: {concurrency: 257}", 1, "poll.concurrency", "at most 256"),
    ("aws: {requests_per_second: 0}", 1, "aws.requests_per_second", "more than 0"),
    ("aws: {requests_per_second: .nan}", 1, "aws.requests_per_second", "must be a number"),
    ("aws: {requests_per_second: false}", 1, "aws.requests_per_second", "must be a number"),
    ("web: {listen: 9477}", 1, "web.listen", "put quotes around it"),
    ("log: {level: loud}", 1, "log.level", "must be debug or info or warning"),
    ("log: {format: jsn}", 1, "log.format", "must be json or console; did you mean json?"),
    ("log: {format: 1}", 1, "log.format", "must be json or console"),
    ("poll: {first_scan: no}", 1, "poll.first_scan", "must be baseline or emit"),
    ("sinks: {a: {type: webhook, url: a, verify: maybe}}", 1, "sinks.a.verify", "true or false"),
    ("sinks: {a: {type: webhook, url: true}}", 1, "sinks.a.url", "reads this as true; put quotes"),
    ("sinks: {a: {type: webhook, url: []}}", 1, "sinks.a.url", "must be text"),
    ("sinks: {a: {type: webhook, url: a, secret_file: 1}}", 1, "sinks.a.secret_file", "path of a file"),
    ("sinks: {a: {type: webhook, url: a, mixed: x}}", 1, "sinks.a.mixed", "a list, such as"),
    ("sinks: {a: {type: webhook, url: a, code: x}}", 1, "sinks.a.code", "write it like A1"),
    # Durations
    ("poll: {interval: 30}", 1, "poll.interval", "30 is not a duration; write a number with a unit"),
    ("poll: {interval: 12:30}", 1, "poll.interval", "is not a duration"),
    ("poll: {interval: 10 parsecs}", 1, "poll.interval", "such as 30s, 2m, 6h or 3d"),
    ("poll: {interval: 1ms}", 1, "poll.interval", "at least 100ms"),
    ("poll: {overlap: 8d}", 1, "poll.overlap", "at most 7d"),
    ("store: {retention: 9999d}", 1, "store.retention", "longer than ten years"),
    ("poll: {interval: often}", 1, "poll.interval", "such as 30s, 2m, 6h or 3d; or write auto"),
    ("poll: {interval: 50ms}", 1, "poll.interval", "must be auto, or at least 100ms"),
    ("poll: {first_scan: 24h}", 1, "poll.first_scan", "or a mapping such as {since: 24h}"),
    ("poll: {first_scan: {sinse: 24h, since: 1h}}", 1, "poll.first_scan.sinse", "did you mean since?"),
    ("poll: {first_scan: {since: 0s}}", 1, "poll.first_scan.since", "must be more than 0s"),
    ("poll: {idle_interval: 0s}", 1, "poll.idle_interval", "than poll.interval (auto, at least 2s)"),
    ("poll: {interval: auto, full_scan_interval: 1s}", 1, "poll.full_scan_interval", "(auto, at least 2s)"),
    ("poll: {interval: 30s, idle_interval: 10s}", 1, "poll.idle_interval", "than poll.interval (30s)"),
    ("poll: {interval: 30s, full_scan_interval: 10s}", 1, "poll.full_scan_interval", "than poll.interval"),
    ("aws: {poll_share: 0%}", 1, "aws.poll_share", "such as 10%, above 0% and at most 100%"),
    ("aws: {poll_share: most}", 1, "aws.poll_share", "'most' is not a share"),
    ("shutdown: {grace: 2h}", 1, "shutdown.grace", "at most 1h"),
    ("sinks: {a: {type: log, retry: {initial: 5s, max: 1s}}}", 1, "sinks.a.retry.max", "retry.initial"),
    # Targets
    ("targets: []", 1, "targets", "must not be empty"),
    ("targets: [{}]", 1, "targets[0].name", "is missing: Unique name in events, metrics and logs"),
    ("targets: [{name: a b}]", 1, "targets[0].name", "letters, digits, - or _"),
    ("targets: [{name: a, regions: [no]}]", 1, "targets[0].regions[0]", "'no' is not the name of an AWS"),
    ("targets: [{name: a, regions: [eu-west]}]", 1, "targets[0].regions[0]", "such as eu-west-1"),
    ("targets: [{name: a, regions: eu-west-1}]", 1, "targets[0].regions", "must be a list"),
    ("targets: [{name: a, kinds: [batch]}]", 1, "targets[0].kinds[0]", " or ".join(sorted(KINDS))),
    ("targets: [{name: a, kinds: []}]", 1, "targets[0].kinds", "must not be empty"),
    ("targets: [{name: a, role_arn: x}]", 1, "targets[0].role_arn", "arn:aws:iam::111111111111:role/"),
    ("targets: [{name: a, external_id: abc}]", 1, "targets[0].external_id", "set role_arn too"),
    (f"targets: [{{name: a, role_arn: '{ROLE}', external_id: x}}]", 1, "targets[0].external_id", "2 to 1224"),
    ("targets:\n- {name: a}\n- {name: a, profile: p}", 3, "targets[1].name", "name of targets[0] too"),
    (
        "targets:\n- {name: a, regions: [us-east-1]}\n- name: b\n  regions: [eu-west-1, us-east-1]",
        3,
        "targets[1]",
        "watches async_invoke in us-east-1, model_invocation_job in us-east-1 with the same credentials",
    ),
    ("targets: [{name: a}, {name: b}]", 1, "targets[1]", "in the current region"),
    ("targets: [{name: a, regions: [us-east-1, us-east-1]}]", 1, "targets[0]", "twice"),
    # Store
    ("store: {url: 'mysql://h/db'}", 1, "store.url", "sqlite:////absolute/path.db or postgresql://"),
    ("store: {lease: 1ms}", 1, "store.lease", "at least 1s"),
    ("store: here", 1, "store", "must be a mapping with the keys url"),
    # Sinks
    ("sinks: {}", 1, "sinks", "must not be empty"),
    ("sinks:\n  a: {type: webhok}", 2, "sinks.a.type", "did you mean webhook?; there are: log, webhook"),
    ("sinks:\n  a: {timeout: 1s}", 2, "sinks.a.type", "one of log, webhook"),
    ("sinks:\n  a: {type: webhook}", 2, "sinks.a.url", "is missing: Where to post"),
    ("sinks:\n  a b: {type: log}", 2, 'sinks["a b"]', "letters, digits, - or _"),
    ("sinks:\n  a: {type: log}\n  a: {type: log}", 3, "sinks.a", "twice, on lines 2 and 3"),
    # Routes
    ("routes: [{match: {}}]", 1, "routes[0].sinks", "is missing: Names of the sinks"),
    ("routes: [{sinks: []}]", 1, "routes[0].sinks", "must not be empty"),
    ("routes:\n- sinks: [log, lgo]", 2, "routes[0].sinks[1]", "did you mean log?; there are: log"),
    ("routes: [{sinks: [log], match: {kind: []}}]", 1, "routes[0].match.kind", "must not be empty"),
    ("routes: [{sinks: [log], match: {kind: batch}}]", 1, "routes[0].match.kind", "there are: async_invoke"),
    ("routes: [{sinks: [log], match: {kind: 'b*'}}]", 1, "routes[0].match.kind", "no job kind"),
    ("routes: [{sinks: [log], match: {status: [Faild]}}]", 1, "routes[0].match.status[0]", "mean Failed?"),
    (
        "routes: [{sinks: [log], match: {kind: async_invoke, status: Expired}}]",
        1,
        "routes[0].match.status",
        "there are: Completed, Failed, InProgress",
    ),
    ("routes: [{sinks: [log], match: {outcome: ok}}]", 1, "routes[0].match.outcome", "there are: expired"),
    ("routes: [{sinks: [log], match: {target: x}}]", 1, "routes[0].match.target", "there are: default"),
    ("routes: [{sinks: [log], match: {region: x}}]", 1, "routes[0].match.region", "or a glob"),
    ("routes: [{sinks: [log], match: {account: 12}}]", 1, "routes[0].match.account", "12 digits"),
    ("routes: [{sinks: [log], match: {name: true}}]", 1, "routes[0].match.name", "put quotes"),
    # The rest
    ("web: {listen: '::1:80'}", 1, "web.listen", "[::]:9477"),
    ("web: {listen: 'localhost:65536'}", 1, "web.listen", "host:port"),
    (f"poll: {{{LONG}: 1}}", 1, "", "is not a known key"),
    ('"a\\nb": 1', 1, '["a\\nb"]', "is not a known key"),
    (f"poll: {{interval: {LONG * 4}}}", 1, "poll.interval", " … "),
    ('poll: {interval: "a\\nb"}', 1, "poll.interval", "'a\\nb' is not a duration"),
]


@pytest.mark.parametrize(("text", "line", "where", "words"), WRONG, ids=[row[0][:60] for row in WRONG])
def test_a_wrong_configuration_is_explained(
    tmp_path: Path, text: str, line: int, where: str, words: str
) -> None:
    """Exactly one problem, at its line and key, in words that say what would be right."""
    (problem,) = problems_in(tmp_path, text)
    assert problem.file == str(tmp_path / "config.yaml")
    assert problem.line == line
    assert where in problem.where
    assert where in {"", problem.where}
    assert words in problem.what
    assert "\n" not in str(problem)
    assert len(str(problem)) < 900
    for noise in ("Input", "Value error", "validation", "discriminator", "union", "Literal"):
        assert noise not in problem.what


def test_unreadable_secret_files_are_named_with_file_and_key(tmp_path: Path) -> None:
    """Those of sinks and of targets alike."""
    missing = tmp_path / "nowhere"
    text = f"""
targets:
  - {{name: a, role_arn: "{ROLE}", external_id_file: {missing}}}
sinks:
  ops: {{type: webhook, url: x, secret_file: {missing}}}
"""
    found = problems_in(tmp_path, text)
    assert [(problem.where, problem.line) for problem in found] == [
        ("targets[0].external_id_file", 3),
        ("sinks.ops.secret_file", 5),
    ]
    assert all(str(missing) in problem.what for problem in found)


def test_an_external_id_comes_from_one_place(tmp_path: Path) -> None:
    """In the file and in a file of its own is one too many."""
    path = tmp_path / "id"
    path.write_text("abc")
    text = f"targets: [{{name: a, role_arn: '{ROLE}', external_id: abc, external_id_file: {path}}}]"
    (problem,) = problems_in(tmp_path, text)
    assert problem.where == "targets[0].external_id_file"
    assert "keep one of them" in problem.what


def test_an_external_id_file_must_hold_an_external_id(tmp_path: Path) -> None:
    """What AWS would refuse is refused before it is sent there, and not shown."""
    path = tmp_path / "id"
    path.write_text(f"{CANARY} {CANARY}")
    text = f"targets: [{{name: a, role_arn: '{ROLE}', external_id_file: {path}}}]"
    (problem,) = problems_in(tmp_path, text)
    assert "holds no external ID" in problem.what
    assert CANARY not in str(problem)


MANY = """
poll:
  intervall: 30s
  concurrency: many
  overlap: 10 parsecs
targets:
  - {name: prod, regions: [no]}
  - {name: dev, kinds: [async_invoke]}
  - {name: dev, kinds: [async_invoke]}
sinks:
  ops: {type: webhook, url: x, secret_file: /nowhere/secret}
  log: {type: log}
  log: {type: log}
  other: {type: webhok}
routes:
  - {match: {status: Faild, target: prd}, sinks: [log, lgo]}
store: {url: "mysql://u:canary-3c0ffee@h/db"}
"""


def test_mistakes_of_every_nature_are_all_named_in_one_run(tmp_path: Path) -> None:
    """Nothing hides behind anything else, and they come in the order of the file, variables last.

    Injects fault 42.
    """
    found = problems_in(tmp_path, MANY, BEDROCK_POLLER_AWS__MAX_ATTEMPTS="x")
    assert [(problem.line, problem.where) for problem in found] == [
        (3, "poll.intervall"),
        (4, "poll.concurrency"),
        (5, "poll.overlap"),
        (7, "targets[0].regions[0]"),
        (9, "targets[2]"),
        (9, "targets[2].name"),
        (11, "sinks.ops.secret_file"),
        (13, "sinks.log"),
        (14, "sinks.other.type"),
        (16, "routes[0].match.status"),
        (16, "routes[0].match.target"),
        (16, "routes[0].sinks[1]"),
        (17, "store.url"),
        (None, "aws.max_attempts"),
    ]
    assert CANARY not in "\n".join(map(str, found))


def test_a_broken_entry_causes_no_second_problem(tmp_path: Path) -> None:
    """A route to a sink or target that is wrong itself is not wrong for that."""
    text = """
targets: [{name: prod, regions: [x]}]
sinks: {ops: {type: webhook}}
routes: [{match: {target: prod}, sinks: [ops]}]
"""
    assert [problem.where for problem in problems_in(tmp_path, text)] == [
        "targets[0].regions[0]",
        "sinks.ops.url",
    ]


@pytest.mark.parametrize("targets", ["targets: x", "targets: [x]", "targets: [{name: 1}]"])
def test_names_that_cannot_be_known_are_not_missed(tmp_path: Path, targets: str) -> None:
    """While the targets or sinks cannot be read, nobody can say that a route names none of them."""
    text = f"{targets}\nsinks: x\nroutes: [{{match: {{target: prod}}, sinks: [ops]}}]"
    assert not [each for each in problems_in(tmp_path, text) if each.where.startswith("routes")]


SECRETS = [
    f"sinks: {{a: {{type: webhook, url: x, secret: {CANARY}}}}}",
    f"sinks: {{a: {{type: webhook, url: x, secret: [{CANARY}]}}}}",
    f"sinks: {{a: {{type: webhook, url: x, secret: {{{CANARY}x: {CANARY}}}}}}}".replace(f"{CANARY}x", "k"),
    f"sinks: {{a: {{type: webhook, url: x, headers: {{a: [{CANARY}]}}}}}}",
    f"sinks: {{a: {{type: webhook, url: x, headers: {CANARY}}}}}",
    f"sinks: {{a: {{type: webhook, url: x, api_token: {CANARY}}}}}",
    f"sinks: {{a: {{type: nothing, secret: {CANARY}}}}}",
    f"sinks: {{a: {CANARY}}}",
    f"targets: [{{name: a, external_id: {CANARY}}}]",
    f"targets: [{{name: a, role_arn: '{ROLE}', external_id: '{CANARY} !'}}]",
    f"store: {{url: 'mysql://u:{CANARY}@h/db'}}",
    f"store: 'postgresql://u:{CANARY}@h/db'",
    f"sinks: {{a: {{type: webhook, secret: '{CANARY}}}",
    f"sinks: {{a: {{type: webhook, secret: *{CANARY}}}}}",
    f"sinks: {{a: {{type: webhook, secret: !{CANARY} x}}}}",
    f'sinks: {{a: {{type: webhook, url: x, secret: "{CANARY}\\n{CANARY}"}}}}',
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_in_no_error_nor_its_traceback(tmp_path: Path, text: str) -> None:
    """Whatever is wrong with it or around it, its value stays out of messages (fault 46)."""
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)
    assert CANARY not in shown
    assert caught.value.__context__ is None


def test_a_secret_of_few_letters_is_kept_out_of_its_own_message(tmp_path: Path) -> None:
    """A short secret cannot be hidden everywhere, but it is where it stands."""
    (problem,) = problems_in(tmp_path, "sinks: {a: {type: webhook, url: x, secret: zq}}")
    assert "zq" not in problem.what
