"""`iam-policy`: what it allows, what it refuses to print, and what it says beside it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from poller.iam.policies import LARGEST_MANAGED_POLICY, PLACEHOLDER

if TYPE_CHECKING:
    from tests.cli.conftest import Done, Shell

PRINCIPAL = "arn:aws:iam::999999999999:role/bedrock-poller"
SECRET = "canary.4711"

FLEET = f"""\
targets:
  - {{name: own, regions: [us-east-1, eu-west-1], kinds: [async_invoke]}}
  - {{name: prod, regions: [us-west-2], role_arn: "arn:aws:iam::111111111111:role/reader"}}
  - {{name: test, regions: [eu-west-1], role_arn: "arn:aws:iam::222222222222:role/reader",
     kinds: [model_invocation_job], external_id: {SECRET}}}
  - {{name: lab, regions: [eu-north-1], profile: lab}}
sinks:
  audit: {{type: log}}
  topic: {{type: sns, topic_arn: "arn:aws:sns:eu-west-1:111111111111:bedrock-jobs"}}
  to-pic: {{type: sns, topic_arn: "arn:aws:sns:us-east-1:111111111111:bedrock-jobs.fifo"}}
"""


def statements(text: str) -> dict[str, Any]:
    """The statements of a policy by what they allow; there is nothing else in it."""
    policy = json.loads(text)
    assert policy["Version"] == "2012-10-17"
    sids = [statement["Sid"] for statement in policy["Statement"]]
    assert all(sid.isalnum() for sid in sids)
    assert len(set(sids)) == len(sids)
    found = {}
    for statement in policy["Statement"]:
        assert statement["Effect"] == "Allow"
        found[statement["Sid"]] = (
            " ".join(statement["Action"]),
            statement["Resource"],
            statement.get("Condition", {}),
        )
    return found


def in_regions(*names: str) -> dict[str, Any]:
    """The condition that limits a listing."""
    return {"StringEquals": {"aws:RequestedRegion": list(names)}}


def ask(shell: Shell, *options: str, config: str = FLEET) -> Done:
    """Ask for a policy."""
    return shell("iam-policy", *options, "--config", shell.write(config))


def test_the_policy_of_the_daemon(shell: Shell) -> None:
    """It may read its own account's jobs, assume the configured roles, and publish; nothing more."""
    done = ask(shell)
    assert statements(done.out) == {
        "ListAsyncInvokes": ("bedrock:ListAsyncInvokes", ["*"], in_regions("eu-west-1", "us-east-1")),
        "GetAsyncInvoke": (
            "bedrock:GetAsyncInvoke",
            ["arn:aws:bedrock:eu-west-1:*:async-invoke/*", "arn:aws:bedrock:us-east-1:*:async-invoke/*"],
            {},
        ),
        "AssumeRoles": (
            "sts:AssumeRole",
            ["arn:aws:iam::111111111111:role/reader", "arn:aws:iam::222222222222:role/reader"],
            {},
        ),
        "SinkTopic": ("sns:Publish", ["arn:aws:sns:eu-west-1:111111111111:bedrock-jobs"], {}),
        "SinkToPic": ("sns:Publish", ["arn:aws:sns:us-east-1:111111111111:bedrock-jobs.fifo"], {}),
    }
    assert done.err.splitlines() == [
        "note: targets with a profile need a policy of their own: --profile lab",
        "note: the account is left open, because no configuration names it; --account ID narrows it",
    ]


def test_a_known_account_narrows_the_policy(shell: Shell) -> None:
    """With `--account` the jobs are those of that account, and nothing is left to be said about it."""
    done = ask(shell, "--account", "999999999999")
    _, jobs, _ = statements(done.out)["GetAsyncInvoke"]
    assert jobs == [
        "arn:aws:bedrock:eu-west-1:999999999999:async-invoke/*",
        "arn:aws:bedrock:us-east-1:999999999999:async-invoke/*",
    ]
    assert "account" not in done.err


def test_a_profile_is_a_principal_of_its_own(shell: Shell) -> None:
    """With `--profile` it is what that profile's targets need; sinks and roles belong to others."""
    found = statements(ask(shell, "--profile", "lab").out)
    assert found.keys() == {
        "ListAsyncInvokes",
        "GetAsyncInvoke",
        "ListModelInvocationJobs",
        "GetModelInvocationJob",
    }
    assert {json.dumps(condition) for _, _, condition in found.values()} == {
        "{}",
        json.dumps(in_regions("eu-north-1")),
    }


def test_the_keys_of_encrypted_topics(shell: Shell) -> None:
    """With `--kms-key` the sinks of the key's region may use it, for their own topics only."""
    key = "arn:aws:kms:eu-west-1:111111111111:key/mrk-1"
    found = statements(ask(shell, "--kms-key", key).out)
    topic = "arn:aws:sns:eu-west-1:111111111111:bedrock-jobs"
    assert found["SinkTopicKey"] == (
        "kms:Decrypt kms:GenerateDataKey",
        [key],
        {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic}},
    )
    assert "SinkToPicKey" not in found


def test_the_policy_of_the_roles(shell: Shell) -> None:
    """With `--member` it is what the roles need, each account's jobs in its own regions and kinds."""
    done = ask(shell, "--member")
    found = statements(done.out)
    assert found["GetModelInvocationJob"][1] == [
        "arn:aws:bedrock:eu-west-1:222222222222:model-invocation-job/*",
        "arn:aws:bedrock:us-west-2:111111111111:model-invocation-job/*",
    ]
    assert found["GetAsyncInvoke"][1] == ["arn:aws:bedrock:us-west-2:111111111111:async-invoke/*"]
    assert found["ListModelInvocationJobs"][2] == in_regions("eu-west-1", "us-west-2")
    assert all(action.startswith("bedrock:") for action, _, _ in found.values())
    assert "--account" in done.err


def test_the_policy_of_one_role(shell: Shell) -> None:
    """With an account it is what the role there needs, and no other account stands in it."""
    done = ask(shell, "--member", "--account", "222222222222")
    assert statements(done.out).keys() == {"ListModelInvocationJobs", "GetModelInvocationJob"}
    assert "111111111111" not in done.out
    assert done.err == ""


def test_who_may_assume_a_role(shell: Shell) -> None:
    """With `--trust` it is the daemon's principal, with a placeholder for the configured external ID."""
    done = ask(shell, "--trust", "--principal", PRINCIPAL, "--account", "222222222222")
    (statement,) = json.loads(done.out)["Statement"]
    assert statement == {
        "Sid": "AssumedByBedrockPoller",
        "Effect": "Allow",
        "Principal": {"AWS": PRINCIPAL},
        "Action": ["sts:AssumeRole"],
        "Condition": {"StringEquals": {"sts:ExternalId": PLACEHOLDER}},
    }
    assert PLACEHOLDER in done.err
    assert SECRET not in done.out + done.err


def test_an_external_id_that_is_given_openly_is_printed(shell: Shell) -> None:
    """With `--external-id` the condition has that text, and there is nothing left to fill in."""
    options = ("--trust", "--principal", PRINCIPAL, "--account", "222222222222", "--external-id", "open")
    done = ask(shell, *options)
    (statement,) = json.loads(done.out)["Statement"]
    assert statement["Condition"] == {"StringEquals": {"sts:ExternalId": "open"}}
    assert done.err == ""


def test_a_role_without_an_external_id(shell: Shell) -> None:
    """Where none is configured there is no condition, because the daemon would send none; that is said."""
    done = ask(shell, "--trust", "--principal", PRINCIPAL, "--account", "111111111111")
    (statement,) = json.loads(done.out)["Statement"]
    assert "Condition" not in statement
    assert done.err == "note: no external ID is configured, so the principal alone is asked for\n"


TRUST = ("--trust", "--principal", PRINCIPAL)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trust",), "--principal: is missing"),
        (TRUST, "--trust: some roles are assumed with an external ID and some without"),
        (("--trust", "--principal", "*"), "--principal: '*' is not the ARN of a role or user"),
        (
            ("--trust", "--principal", "arn:aws:sts::999999999999:assumed-role/daemon/i-1"),
            "its role may be arn:aws:iam::999999999999:role/daemon",
        ),
        (("--trust", "--principal", PRINCIPAL.replace("aws", "aws-cn", 1)), "in another partition"),
        ((*TRUST, "--account", "111111111111", "--external-id", "open"), "--external-id: the roles are"),
        (
            (*TRUST, "--account", "222222222222", "--external-id", "a b"),
            "is not an external ID",
        ),
        ((*TRUST, "--account", "333333333333"), "--account: no target has a role in 333333333333"),
        (("--member", "--trust"), "--member: is another document than --trust"),
        (("--member", "--organization"), "--member: is another document than --organization"),
        (("--organization",), "--organization: no target has an organization with a list_role_arn"),
        (("--organization", "--account", "111111111111"), "--account: does not go with --organization"),
        (("--member", "--profile", "lab"), "--profile: does not go with --member"),
        (("--member", "--principal", PRINCIPAL), "--principal: goes with --trust only"),
        (("--account", "12"), "--account: '12' is not the ID of an account"),
        (("--profile", "nobody"), "--profile: no target has the profile 'nobody'; there is lab"),
        (("--kms-key", "alias/topics"), "--kms-key: 'alias/topics' is not the ARN of a key"),
        (("--kms-key", "arn:aws:kms:eu-west-3:111111111111:key/1"), "--kms-key: no sink has a topic"),
        (
            ("--profile", "lab", "--kms-key", "arn:aws:kms:eu-west-1:111111111111:key/1"),
            "--kms-key: the profile 'lab' sends nothing",
        ),
    ],
)
def test_what_does_not_fit_is_refused(shell: Shell, options: tuple[str, ...], said: str) -> None:
    """Options that do not belong together, or mean nothing here, print no policy; the exit code is 2."""
    done = ask(shell, *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "a b" not in done.err


def test_a_trust_policy_needs_a_role(shell: Shell) -> None:
    """Where no role is assumed nobody has to be trusted."""
    done = shell("iam-policy", *TRUST)
    assert (done.code, done.out) == (2, "")
    assert done.err == "--trust: no target has a role_arn, so there is nothing to be trusted\n"


@pytest.mark.parametrize(
    ("region", "partition"),
    [
        ("eu-central-1", "aws"),
        ("us-gov-west-1", "aws-us-gov"),
        ("cn-northwest-1", "aws-cn"),
        ("xx-nowhere-1", "aws"),
    ],
)
def test_the_partition_follows_the_region(shell: Shell, region: str, partition: str) -> None:
    """ARNs are those of the region's partition; a region that the SDK does not know is taken as a new one."""
    done = ask(shell, config=f"targets: [{{name: own, regions: [{region}], kinds: [async_invoke]}}]")
    assert statements(done.out)["GetAsyncInvoke"][1] == [f"arn:{partition}:bedrock:{region}:*:async-invoke/*"]


def test_the_partition_of_a_role_without_regions(shell: Shell) -> None:
    """Where no region is named the partition is the role's, or that of the SDK's current region."""
    role = "arn:aws-us-gov:iam::111111111111:role/reader"
    done = ask(shell, "--member", config=f'targets: [{{name: gov, role_arn: "{role}"}}]')
    (jobs,) = statements(done.out)["GetAsyncInvoke"][1]
    assert jobs == "arn:aws-us-gov:bedrock:*:111111111111:async-invoke/*"
    assert statements(done.out)["ListAsyncInvokes"][2] == {}
    assert done.err.startswith("note: every region is allowed, because gov names none")


def test_the_current_region_decides_on_the_partition(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any configuration, in a shell that is set up for China, the ARNs are China's."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "cn-north-1")
    assert statements(shell("iam-policy").out)["GetAsyncInvoke"][1] == [
        "arn:aws-cn:bedrock:*:*:async-invoke/*"
    ]
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    assert statements(shell("iam-policy").out)["GetAsyncInvoke"][1] == ["arn:aws:bedrock:*:*:async-invoke/*"]


def test_partitions_are_not_mixed(shell: Shell) -> None:
    """IAM refuses a policy with ARNs of two partitions, so none is printed, and it is said what to do."""
    config = """\
targets:
  - {name: gov, regions: [us-gov-west-1], role_arn: "arn:aws-us-gov:iam::111111111111:role/reader"}
  - {name: world, regions: [us-east-1], role_arn: "arn:aws:iam::222222222222:role/reader"}
"""
    done = ask(shell, "--member", config=config)
    assert (done.code, done.out) == (2, "")
    assert "several partitions (aws, aws-us-gov), which IAM refuses" in done.err
    assert ask(shell, "--member", "--account", "222222222222", config=config).code == 0


def test_a_role_of_another_partition_than_its_regions_is_a_mistake(shell: Shell) -> None:
    """Such a target can never be polled, and so gets no policy."""
    config = 'targets: [{name: a, regions: [us-gov-west-1], role_arn: "arn:aws:iam::111111111111:role/r"}]'
    done = ask(shell, "--member", config=config)
    assert done.code == 2
    assert done.err == "targets[0]: belongs to several partitions (aws, aws-us-gov); split it\n"


def test_the_policy_without_roles(shell: Shell) -> None:
    """The defaults need no role to be assumed; no role needs anything, and IAM would not take that."""
    assert {action for action, _, _ in statements(shell("iam-policy").out).values()} == {
        "bedrock:ListAsyncInvokes",
        "bedrock:GetAsyncInvoke",
        "bedrock:ListModelInvocationJobs",
        "bedrock:GetModelInvocationJob",
    }
    done = shell("iam-policy", "--member")
    assert statements(done.out) == {}
    assert done.err == "note: nothing is needed, and IAM takes no policy without a statement\n"


def test_a_policy_that_is_too_large_is_pointed_out(shell: Shell) -> None:
    """With hundreds of roles the document is more than a managed policy may be; with few nothing is said."""
    roles = [
        {"name": f"t{n}", "regions": ["us-east-1"], "role_arn": f"arn:aws:iam::{n:012}:role/reader"}
        for n in range(1, 301)
    ]
    done = ask(shell, config=json.dumps({"targets": roles}))
    document = json.dumps(json.loads(done.out), separators=(",", ":"))
    assert len(document) > LARGEST_MANAGED_POLICY
    assert done.err.startswith(f"note: this has {len(document)} characters")
    assert ask(shell, config=json.dumps({"targets": roles[:3]})).err == ""


def test_sinks_whose_names_look_alike_have_sids_of_their_own(shell: Shell) -> None:
    """IAM takes letters and digits in a Sid, and each Sid once."""
    sinks = {
        name: {"type": "sns", "topic_arn": f"arn:aws:sns:eu-west-1:111111111111:{name}"}
        for name in ("a-b", "a_b", "aB")
    }
    found = statements(ask(shell, config=json.dumps({"sinks": sinks})).out)
    assert [sid for sid in found if sid.startswith("Sink")] == ["SinkAB", "SinkAB2", "SinkAb"]


UNITS = "[r-abcd, ou-efgh-12345678, ou-efgh-87654321]"


def _organization(more: str = "", regions: str = "[us-east-1]") -> str:
    return f"""\
targets:
  - name: all
    regions: {regions}
    kinds: [async_invoke]
    external_id: {SECRET}
    organization: {{role_name: path/reader{more}}}
"""


def test_the_accounts_of_an_organization_are_found_and_entered(shell: Shell) -> None:
    """The daemon may list the accounts, and assume the role in each; which they are nobody knows before."""
    done = ask(shell, config=_organization())
    assert statements(done.out) == {
        "ListAccounts": ("organizations:ListAccounts", ["*"], {}),
        "AssumeRoles": ("sts:AssumeRole", ["arn:aws:iam::*:role/path/reader"], {}),
    }
    assert done.err == (
        "note: the roles of an organization may be assumed in any account that lets the daemon in\n"
    )


def test_units_and_tags_of_an_organization(shell: Shell) -> None:
    """Units, with those inside them, are listed instead of all accounts; tags are read only if asked for."""
    config = _organization(f", units: {UNITS}, tags: {{team: '*'}}", "[us-gov-west-1]")
    found = statements(ask(shell, config=config).out)
    assert found.keys() == {"ListUnits", "ListTagsOfAccounts", "AssumeRoles"}
    assert found["ListUnits"][:2] == (
        "organizations:ListAccountsForParent organizations:ListOrganizationalUnitsForParent",
        [
            "arn:aws-us-gov:organizations::*:ou/o-*/ou-abcd-*",
            "arn:aws-us-gov:organizations::*:ou/o-*/ou-efgh-*",
            "arn:aws-us-gov:organizations::*:root/o-*/r-abcd",
        ],
    )
    assert found["ListTagsOfAccounts"][:2] == (
        "organizations:ListTagsForResource",
        ["arn:aws-us-gov:organizations::*:account/o-*/*"],
    )
    assert found["AssumeRoles"][1] == ["arn:aws-us-gov:iam::*:role/path/reader"]


def test_a_role_that_lists_an_organization(shell: Shell) -> None:
    """With `list_role_arn` the daemon assumes that role too, and what it needs is a document of its own."""
    role = "arn:aws:iam::888888888888:role/lister"
    config = _organization(f', list_role_arn: "{role}"')
    found = statements(ask(shell, config=config).out)
    assert found == {"AssumeRoles": ("sts:AssumeRole", ["arn:aws:iam::*:role/path/reader", role], {})}
    listing = statements(ask(shell, "--organization", config=config).out)
    assert listing == {"ListAccounts": ("organizations:ListAccounts", ["*"], {})}
    trust = ask(shell, "--organization", *TRUST, config=config)
    (statement,) = json.loads(trust.out)["Statement"]
    assert statement["Principal"] == {"AWS": PRINCIPAL}
    assert "Condition" not in statement


def test_the_roles_of_an_organization(shell: Shell) -> None:
    """They are the same in every account, so the account is open, or the one that is asked for."""
    done = ask(shell, "--member", config=_organization())
    assert statements(done.out)["GetAsyncInvoke"][1] == ["arn:aws:bedrock:us-east-1:*:async-invoke/*"]
    assert done.err == (
        "note: the account is left open, because this is for each of several; --account ID narrows it\n"
    )
    done = ask(shell, "--member", "--account", "777777777777", config=_organization())
    assert statements(done.out)["GetAsyncInvoke"][1] == [
        "arn:aws:bedrock:us-east-1:777777777777:async-invoke/*"
    ]
    assert done.err == ""
    done = ask(shell, *TRUST, config=_organization())
    assert json.loads(done.out)["Statement"][0]["Condition"] == {
        "StringEquals": {"sts:ExternalId": PLACEHOLDER}
    }
    assert SECRET not in done.out + done.err


def test_all_regions(shell: Shell) -> None:
    """With `auto` every region of the partition is allowed, and that is what was asked for: no note."""
    done = ask(shell, "--member", config=_organization(regions="auto"))
    assert statements(done.out)["ListAsyncInvokes"][2] == {}
    assert statements(done.out)["GetAsyncInvoke"][1] == ["arn:aws:bedrock:*:*:async-invoke/*"]
    assert "region" not in done.err
    role = "arn:aws-us-gov:iam::888888888888:role/lister"
    config = _organization(f', list_role_arn: "{role}"', regions="auto")
    (jobs,) = statements(ask(shell, "--member", config=config).out)["GetAsyncInvoke"][1]
    assert jobs == "arn:aws-us-gov:bedrock:*:*:async-invoke/*"


def test_two_targets_of_one_organization_share_their_statements(shell: Shell) -> None:
    """What two targets need alike stands in the policy once."""
    config = (
        _organization() + "  - {name: more, regions: [us-west-2], organization: {role_name: path/reader}}\n"
    )
    found = statements(ask(shell, config=config).out)
    assert found.keys() == {"ListAccounts", "AssumeRoles"}


QUEUES = """
targets: [{name: own, regions: [us-east-1]}]
wake_ups:
  - {type: sqs, queue_url: "https://sqs.us-east-1.amazonaws.com/111111111111/bedrock-wake-ups"}
  - {type: sqs, queue_url: "https://sqs.eu-west-1.amazonaws.com/222222222222/other",
     role_arn: "arn:aws:iam::222222222222:role/queue-reader"}
"""


def test_reading_queues_of_wake_ups(shell: Shell) -> None:
    """Three actions on the queue; what an assumed role needs is a note, as its policy is another one."""
    done = ask(shell, "--account", "111111111111", config=QUEUES)
    found = statements(done.out)
    assert found["WakeUps1"] == (
        "sqs:ChangeMessageVisibility sqs:DeleteMessage sqs:ReceiveMessage",
        ["arn:aws:sqs:us-east-1:111111111111:bedrock-wake-ups"],
        {},
    )
    assert found["AssumeRoles"] == ("sts:AssumeRole", ["arn:aws:iam::222222222222:role/queue-reader"], {})
    assert "sqs" not in str({**found, "WakeUps1": ""})
    assert (
        "arn:aws:iam::222222222222:role/queue-reader needs sqs:ChangeMessageVisibility, sqs:DeleteMessage,"
        " sqs:ReceiveMessage on arn:aws:sqs:eu-west-1:222222222222:other"
    ) in " ".join(done.err.split())


def test_queues_of_china_are_in_its_partition(shell: Shell) -> None:
    """The region of the queue decides."""
    config = QUEUES.replace("us-east-1", "cn-north-1").partition(
        '  - {type: sqs, queue_url: "https://sqs.eu'
    )[0]
    done = ask(shell, config=config)
    assert "arn:aws-cn:sqs:cn-north-1:111111111111:bedrock-wake-ups" in done.out
