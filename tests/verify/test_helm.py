"""The chart, rendered by Helm and taken by what answers as Kubernetes' API server."""

from __future__ import annotations

import asyncio
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if sys.hexversion < 0x030C0000:
    pytest.skip("Helm's library for Python needs 3.12", allow_module_level=True)

import helm_sdkpy

from poller import __version__
from poller.cli import run
from tests.deploy.chart import CHART, COPIES
from tests.verify.apiserver import VERSION, ApiServer, refusals
from tests.verify.cases import CASES, ROLE
from tests.verify.pod import beyond_restricted, container_of, enter
from tests.verify.release import InstallError, Release, install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Said = Callable[[str], None]

OLDEST = "1.25"
each_case = pytest.mark.parametrize("name", CASES)


@cache
def _release(name: str) -> Release:
    return install(CASES[name].values)


def _deployment(name: str) -> dict[str, Any]:
    return _release(name).only("Deployment")


def _pod(name: str) -> dict[str, Any]:
    return dict(_deployment(name)["spec"]["template"]["spec"])


@each_case
def test_installs(name: str, said: Said) -> None:
    """Helm installs the chart, and every object is valid and of a kind that was asked for."""
    release = _release(name)
    assert {each["kind"] for each in release.objects} == CASES[name].kinds
    assert release.notes.startswith(f"bedrock-poller {CASES[name].values.get('image', {}).get('digest', '')}")
    said(f"{len(release.objects)} objects valid for Kubernetes {VERSION}")


@each_case
def test_configuration_is_accepted(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the pod, `bedrock-poller check-config` finds nothing to complain of."""
    case = CASES[name]
    enter(_release(name).objects, case.config_maps, case.secrets, tmp_path, monkeypatch)
    assert run(["check-config"]) == 0, capsys.readouterr().err


@each_case
def test_pod_is_restricted(name: str) -> None:
    """Every pod keeps to the `restricted` standard, and writes only to its volumes."""
    assert beyond_restricted(_deployment(name)) == []


def test_oldest_kubernetes(said: Said) -> None:
    """With everything on, it also fits the oldest Kubernetes that the chart allows, and no older one."""
    install(CASES["everything on"].values, version=OLDEST)
    with pytest.raises(InstallError, match=r"incompatible with Kubernetes v1\.24"):
        install({}, version="1.24")
    said(f"Kubernetes {OLDEST}")


def test_sqlite_has_one_writer() -> None:
    """With SQLite there is one pod on a volume that stays, and the old one goes before the new one comes."""
    spec = _deployment("defaults")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    claim = _release("defaults").only("PersistentVolumeClaim")
    (state,) = [each for each in _pod("defaults")["volumes"] if each["name"] == "state"]
    assert state["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_postgresql_has_replicas() -> None:
    """With PostgreSQL there are several pods without a volume, of which one is replaced at a time."""
    spec = _deployment("PostgreSQL with 3 replicas")["spec"]
    assert spec["replicas"] == 3
    assert spec["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert not any("persistentVolumeClaim" in each for each in _pod("PostgreSQL with 3 replicas")["volumes"])


def test_volumes_of_ones_own() -> None:
    """A claim that exists is used, and without persistence the database is in the pod, with a warning."""
    (given,) = [each for each in _pod("a volume that exists")["volumes"] if each["name"] == "state"]
    assert given["persistentVolumeClaim"] == {"claimName": "mine"}
    (fleeting,) = [each for each in _pod("no volume")["volumes"] if each["name"] == "state"]
    assert fleeting == {"name": "state", "emptyDir": {}}
    assert "WARNING: persistence.enabled is false" in _release("no volume").notes
    assert "WARNING" not in _release("defaults").notes


def test_role_reaches_the_pod() -> None:
    """The annotation for IAM roles is on the service account that the pod runs as."""
    account = _release("IRSA and a signed webhook").only("ServiceAccount")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": ROLE}
    assert _pod("IRSA and a signed webhook")["serviceAccountName"] == account["metadata"]["name"]
    assert _pod("a configuration in a Secret")["serviceAccountName"] == "there"


def test_image() -> None:
    """A digest goes before the tag, which is the chart's version if there is none."""
    assert container_of(_deployment("defaults"))["image"] == f"bedrock-poller:{__version__}"
    everything = CASES["everything on"].values["image"]
    pinned = container_of(_deployment("everything on"))["image"]
    assert pinned == f"{everything['repository']}@{everything['digest']}"


def test_change_of_configuration_rolls_the_pod() -> None:
    """Another configuration makes another pod; the same one, or another service, does not."""

    def template(values: dict[str, Any]) -> Any:
        return install(values).only("Deployment")["spec"]["template"]

    before = template({})
    assert template({"config": {"poll": {"interval": "1m"}}}) != before
    assert template({"service": {"port": 80}}) == before


def test_names_and_selectors() -> None:
    """Releases side by side do not select each other's pods, and the longest name still makes valid ones."""
    one, other = install({}, name="one").only("Deployment"), install({}, name="other").only("Deployment")
    assert one["metadata"]["name"] == "one-bedrock-poller"
    selectors = [each["spec"]["selector"]["matchLabels"] for each in (one, other)]
    assert selectors[0] != selectors[1]
    # What a user may change later must leave the selector as it is.
    for name in CASES:
        assert _deployment(name)["spec"]["selector"] == _deployment("defaults")["spec"]["selector"]
    install(
        {**CASES["everything on"].values, "fullnameOverride": "", "nameOverride": "n" * 63}, name="r" * 53
    )


def test_time_to_end_follows_the_configuration() -> None:
    """The pod gets the grace of the configuration and 20 seconds, or what the user says."""
    assert _pod("defaults")["terminationGracePeriodSeconds"] == 40
    assert _pod("everything on")["terminationGracePeriodSeconds"] == 91 + 20
    given = install({"terminationGracePeriodSeconds": 90}).only("Deployment")
    assert given["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 90


def test_network_policy() -> None:
    """The policy lets out what is needed, PostgreSQL's port too, and lets in who was named."""
    spec = _release("everything on").only("NetworkPolicy")["spec"]
    ports = [{port["port"] for port in rule.get("ports", [])} for rule in spec["egress"]]
    assert ports == [{53, 5353}, {443, 8443, 6432}, {80}, set()]
    (ingress,) = spec["ingress"]
    assert ingress["ports"] == [{"port": "http", "protocol": "TCP"}]
    assert ingress["from"] == CASES["everything on"].values["networkPolicy"]["ingress"]["from"]
    assert install({"networkPolicy": {"enabled": False}}).of_kind("NetworkPolicy") == []


def _egress(values: dict[str, Any]) -> tuple[set[int], list[Any]]:
    """The ports of any address, and the peers with all ports, that the policy lets out to."""
    rules = install(values).only("NetworkPolicy")["spec"]["egress"]
    anywhere = {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}
    peers = [peer for rule in rules if "ports" not in rule for peer in rule["to"]]
    return anywhere - {53, 5353}, peers


@pytest.mark.parametrize(
    ("address", "ports", "namespace"),
    [
        ("https://hooks.example.com/a", {443}, None),
        ("https://hooks.example.com:8443/a?b=https", {443, 8443}, None),
        ("http://hooks.example.com", {443, 80}, None),
        ("http://10.0.0.5:9000/", {443, 9000}, None),
        ("http://[fd00::1]:9000/", {443, 9000}, None),
        ("https://receiver.tools.svc.cluster.local/a", {443}, "tools"),
        ("https://receiver-0.receiver.tools.svc:9000/a", {443, 9000}, "tools"),
        ("http://receiver.tools:9000", {443, 9000}, "tools"),
        ("http://receiver/a", {443, 80}, ""),
    ],
)
def test_receivers_are_reached(address: str, ports: set[int], namespace: str | None) -> None:
    """The policy lets out to the port of every address in the configuration, and to the pods of a Service."""
    sink = {"type": "webhook", "url": address}
    selected: dict[str, Any] = {"podSelector": {}}
    if namespace:
        selected = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    expected = (ports, [] if namespace is None else [selected])
    assert _egress({"config": {"sinks": {"ops": sink}}}) == expected
    assert _egress({"extraEnv": [{"name": "HTTPS_PROXY", "value": address}]}) == expected


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("postgresql://a@db.example.com/b", {443, 5432}),
        ("postgresql://a@db.example.com:6432/b?sslmode=require", {443, 6432}),
        ("postgresql+psycopg://a@/b?host=db.example.com&port=6433", {443, 6433}),
        ("postgresql://a@one.example.com:6432,two.example.com:6433/b", {443, 6432, 6433}),
    ],
)
def test_databases_are_reached(url: str, ports: set[int]) -> None:
    """The policy lets out to every port that the address of PostgreSQL names, wherever that stands."""
    assert _egress({"postgresql": {"enabled": True, "url": url}}) == (ports, [])
    assert _egress({"postgresql": {"enabled": True}, "config": {"store": {"url": url}}}) == (ports, [])


def test_notes_tell_what_the_policy_lets_out() -> None:
    """Who installs the chart reads which ports are open, and that an existing configuration is not read."""
    notes = " ".join(_release("everything on").notes.split())
    assert "TCP to ports 443, 8443, 6432 of any address" in notes
    assert "cannot read" not in notes
    assert "cannot read the addresses" in _release("a configuration in a Secret").notes


def test_resolving_names() -> None:
    """Hosts, resolver settings and where they come from are the pod's."""
    values, pod = CASES["everything on"].values, _pod("everything on")
    for key in ("dnsPolicy", "dnsConfig", "hostAliases"):
        assert pod[key] == values[key]
        assert key not in _pod("defaults")


def test_other_containers() -> None:
    """Other containers come before and beside the program's, which stays the first, with hooks of its own."""
    values, pod = CASES["everything on"].values, _pod("everything on")
    assert pod["initContainers"] == values["initContainers"]
    assert pod["containers"][1:] == values["extraContainers"]
    assert container_of(_deployment("everything on"))["lifecycle"] == values["lifecycle"]


def test_labels_and_annotations() -> None:
    """Common ones are on every object of the chart, and yield to those of an object."""
    release = _release("everything on")
    extra = {"watcher-of-bedrock-poller", "prod-text"}
    objects = [each for each in release.objects if each["metadata"]["name"] not in extra]
    assert len(objects) == len(release.objects) - len(extra)
    for each in objects:
        own = "b" if each["kind"] == "Service" else "common"
        assert each["metadata"]["annotations"]["a"] == own, each["kind"]
        assert each["metadata"]["annotations"]["example.com/owner"] == "ml", each["kind"]
        assert each["metadata"]["labels"]["team"] == "ml", each["kind"]
    claim = install({"commonAnnotations": {"a": "b"}}).only("PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"a": "b", "helm.sh/resource-policy": "keep"}
    service = release.only("Service")["metadata"]
    assert service["labels"]["scraped"] == "yes"
    clash = install({"service": {"labels": {"app.kubernetes.io/name": "other"}}}).only("Service")["metadata"]
    assert clash["labels"]["app.kubernetes.io/name"] == "bedrock-poller"


def test_extra_objects_are_templates() -> None:
    """Further objects, written as mappings or as text, are templates with the names of the release."""
    release = _release("everything on")
    named = {(each["kind"], each["metadata"]["name"]): each for each in release.objects}
    assert named["ConfigMap", "watcher-of-bedrock-poller"]["data"] == {"port": "8080"}
    assert ("Secret", "prod-text") in named


def test_monitoring() -> None:
    """Prometheus finds the service, the rules are those of deploy/prometheus, and so is the dashboard."""
    release = _release("everything on")
    monitor = release.only("ServiceMonitor")
    service = release.only("Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["namespaceSelector"] == {"matchNames": ["prod"]}
    assert monitor["spec"]["endpoints"][0]["port"] in {each["name"] for each in service["spec"]["ports"]}
    rules, dashboard = (original.read_text() for original in COPIES.values())
    assert release.only("PrometheusRule")["spec"] == yaml.safe_load(rules)
    (shown,) = [
        each for each in release.of_kind("ConfigMap") if each["metadata"]["name"].endswith("-dashboards")
    ]
    assert shown["data"] == {"bedrock-poller.json": dashboard}
    assert shown["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_certificates() -> None:
    """With a certificate in the configuration, probes and Prometheus ask by HTTPS; else as the user says."""
    name = "TLS and tokens"
    (endpoint,) = _release(name).only("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"] == CASES[name].values["serviceMonitor"]["authorization"]
    told = install({"existingConfigMap": "mine", "web": {"scheme": "HTTPS"}}).only("Deployment")
    for deployment, scheme in (
        (_deployment(name), "HTTPS"),
        (told, "HTTPS"),
        (_deployment("defaults"), None),
    ):
        container = container_of(deployment)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"].get("scheme") == scheme


def test_spreading() -> None:
    """A constraint of spreading applies to the pods of the release, unless it says otherwise."""
    own, given = _pod("everything on")["topologySpreadConstraints"]
    assert own["labelSelector"] == _deployment("everything on")["spec"]["selector"]
    assert given["labelSelector"] == {"matchLabels": {"c": "d"}}


def _config(**sections: Any) -> dict[str, Any]:
    return {"config": sections}


def _of_a_sink(**settings: Any) -> dict[str, Any]:
    return _config(sinks={"ops": {"type": "webhook", "url": "https://hooks.example.com/a", **settings}})


SECRETS: dict[str, tuple[dict[str, Any], str, str]] = {
    "signing secrets": (
        _of_a_sink(secrets=["whsec_tiger"]),
        "config.sinks.ops.secrets",
        "its file in secret_file",
    ),
    "an authorization": (
        _of_a_sink(headers={"Authorization": "Bearer tiger"}),
        "config.sinks.ops.headers.Authorization",
        "its file in header_files",
    ),
    "a key in a header": (
        _of_a_sink(headers={"x-api-key": "tiger"}),
        "config.sinks.ops.headers.x-api-key",
        "its file in header_files",
    ),
    "a password in an address": (
        _of_a_sink(url="https://ops:tiger@hooks.example.com/"),
        "config.sinks.ops.url",
        "its file in url_file",
    ),
    "a token in an address": (
        _of_a_sink(url="https://hooks.example.com/?access_token=tiger"),
        "config.sinks.ops.url",
        "its file in url_file",
    ),
    "an external ID": (
        _config(targets=[{"name": "one", "external_id": "tiger"}]),
        "config.targets[0].external_id",
        "its file in external_id_file",
    ),
    "a user of the web server": (
        _config(web={"auth": {"basic_auth_users": {"a": "$2b$10$tiger"}}}),
        "config.web.auth.basic_auth_users",
        "its file in basic_auth_users_file",
    ),
    "a password for the database": (
        {"postgresql": {"enabled": True}, **_config(store={"url": "postgresql://a:tiger@b/c"})},
        "config.store.url",
        "postgresql.passwordSecret.name",
    ),
    "a password as a parameter": (
        {"postgresql": {"enabled": True}, **_config(store={"url": "postgresql://a@b/c?password=tiger"})},
        "config.store.url",
        "postgresql.passwordSecret.name",
    ),
    "a secret of an unknown sink": (
        _config(sinks={"chat": {"type": "chat", "room": {"bot_token": "tiger"}}}),
        "config.sinks.chat.room.bot_token",
        "existingSecret",
    ),
    "an address of an unknown sink": (
        _config(sinks={"chat": {"type": "chat", "servers": ["chat://bot:tiger@example.com"]}}),
        "config.sinks.chat.servers[0]",
        "existingSecret",
    ),
    "a parameter of postgresql.url": (
        {"postgresql": {"enabled": True, "url": "postgresql://a@b/c?sslmode=require&password=tiger"}},
        "postgresql.url",
        "postgresql.passwordSecret.name",
    ),
    "a user of postgresql.url": (
        {"postgresql": {"enabled": True, "url": "postgresql://a:ti/ger@b/c"}},
        "postgresql.url",
        "postgresql.passwordSecret.name",
    ),
    "a variable called like a secret": (
        {"extraEnv": [{"name": "BEDROCK_POLLER_TARGETS__0__EXTERNAL_ID", "value": "tiger"}]},
        "BEDROCK_POLLER_TARGETS__0__EXTERNAL_ID",
        "valueFrom.secretKeyRef",
    ),
    "a password in a variable": (
        {"extraEnv": [{"name": "HTTPS_PROXY", "value": "http://a:tiger@proxy:3128"}]},
        "HTTPS_PROXY",
        "valueFrom.secretKeyRef",
    ),
}


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_in_plain_values_are_refused(name: str) -> None:
    """A secret that a ConfigMap or the pod would show is refused with its place and remedy, unseen."""
    values, place, remedy = SECRETS[name]
    with pytest.raises(InstallError) as caught:
        install(values)
    lines = [line for line in str(caught.value).splitlines() if line.startswith("- ")]
    assert len(lines) == 1
    assert place in lines[0]
    assert remedy in lines[0]
    assert "tiger" not in str(caught.value)
    assert "ti/ger" not in str(caught.value)
    assert caught.value.left == []


def test_what_is_no_secret_is_let_through() -> None:
    """Files of secrets, plain headers, references to variables and another's settings are not refused."""
    sinks = {
        "ops": {
            "type": "webhook",
            "url": "https://hooks.example.com/a?team=ml",
            "secret_file": "/etc/secret",
            "headers": {"x-team": "platform"},
        },
        "chat": {
            "type": "chat",
            "token_file": "/etc/token",
            "max_tokens": 5,
            "server": "chat://bot@example.com",
        },
    }
    variables = [
        {"name": "DB", "value": "postgresql://a:$(DB_PASSWORD)@b/c"},
        {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/token"},
        {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "api", "key": "token"}}},
    ]
    database = "postgresql://a@b:6432/c?sslmode=verify-full&passfile=/x&sslkey=/y"
    install(
        {"config": {"sinks": sinks}, "extraEnv": variables, "postgresql": {"enabled": True, "url": database}}
    )
    install({**_of_a_sink(secrets=["whsec_tiger"]), "existingSecret": "mine"})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "misspelt value": (
        {"persistance": {"enabled": False}},
        "additional properties 'persistance' not allowed",
    ),
    "misspelt value inside": ({"image": {"repo": "x"}}, "'/image': additional properties 'repo' not allowed"),
    "wrong type": ({"replicaCount": "two"}, "'/replicaCount': got string, want integer"),
    "not one of the choices": ({"image": {"pullPolicy": "Sometimes"}}, "'/image/pullPolicy': value must be"),
    "misspelt setting": (
        _config(poll={"intervall": "30s"}),
        "'/config/poll': additional properties 'intervall' not allowed",
    ),
    "misspelt setting of a sink": (
        _config(sinks={"ops": {"type": "webhook", "url": "https://example.com", "secret": "x"}}),
        "'/config/sinks/ops': additional properties 'secret' not allowed",
    ),
    "a duration without unit": (_config(poll={"interval": 30}), "'/config/poll/interval': got number"),
    "two replicas on SQLite": ({"replicaCount": 2}, "SQLite takes one replica only: set replicaCount to 1"),
    "no resolver": ({"dnsPolicy": "None"}, "dnsPolicy is None, but dnsConfig has no nameservers"),
    "a second program": (
        {"extraContainers": [{"name": "bedrock-poller", "image": "x"}]},
        "extraContainers has a container called bedrock-poller",
    ),
    "a container without an image": (
        {"initContainers": [{"name": "wait"}]},
        "'/initContainers/0': missing property 'image'",
    ),
    "an alias without a name": ({"hostAliases": [{"ip": "10.0.0.5"}]}, "missing property 'hostnames'"),
    "two configurations": (
        {"existingConfigMap": "a", "existingSecret": "b"},
        "existingConfigMap and existingSecret are both set",
    ),
    "PostgreSQL in the configuration only": (
        _config(store={"url": "postgresql://a@b/c"}),
        "set postgresql.enabled to true",
    ),
    "PostgreSQL without an address": ({"postgresql": {"enabled": True}}, "set postgresql.url, such as"),
    "another database": ({"postgresql": {"enabled": True, "url": "mysql://a/b"}}, "'/postgresql/url'"),
    "two addresses": (
        {
            "postgresql": {"enabled": True, "url": "postgresql://a@b/c"},
            **_config(store={"url": "postgresql://a@b/d"}),
        },
        "postgresql.url and config.store.url are both set",
    ),
    "a password in the address": (
        {"postgresql": {"enabled": True, "url": "postgresql://a:tiger@b/c"}},
        "postgresql.url holds a password",
    ),
    "a port in the configuration": (
        _config(web={"listen": "0.0.0.0:80"}),
        "set web.host and web.port instead",
    ),
    "probes without a certificate": (
        _config(web={"tls": {"cert_file": "/a", "key_file": "/b", "client_ca_file": "/c"}}),
        "livenessProbe asks by HTTP, but config.web.tls.client_ca_file lets nobody in without a certificate",
    ),
    "too little time to end": (
        {"terminationGracePeriodSeconds": 25},
        "terminationGracePeriodSeconds is 25, but shutdown.grace asks for 30",
    ),
    "a secret that is not mounted": (
        _config(
            sinks={
                "ops": {
                    "type": "webhook",
                    "url": "https://example.com",
                    "secret_file": "/etc/bedrock-poller/secrets/x",
                }
            }
        ),
        "no Secret is mounted there: name one in secretFiles",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_explained(name: str) -> None:
    """A mistake in the values gets an error that names the value, before anything is installed."""
    values, message = WRONG[name]
    with pytest.raises(InstallError) as caught:
        install(values)
    assert message in str(caught.value)
    assert "tiger" not in str(caught.value)
    assert caught.value.left == []


def test_mistakes_are_explained_together() -> None:
    """Several mistakes that no schema can see are told at once."""
    values = {
        "replicaCount": 2,
        "terminationGracePeriodSeconds": 1,
        "existingConfigMap": "a",
        "existingSecret": "b",
    }
    with pytest.raises(InstallError) as caught:
        install(values)
    assert str(caught.value).count("\n- ") == 3


def test_server_refuses_what_kubernetes_would(said: Said) -> None:
    """The server that these checks trust refuses a misspelt field, a missing volume and a bad label."""
    good = _deployment("defaults")
    assert list(refusals(good, VERSION)) == []

    def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(good))
        change(copy)
        return copy

    spoilt = [
        changed(lambda it: it["spec"].update(replica=1)),
        changed(lambda it: it["spec"].update(replicas="1")),
        changed(lambda it: it["spec"]["template"]["spec"]["volumes"].pop()),
        changed(lambda it: it["spec"]["template"]["metadata"]["labels"].clear()),
        changed(lambda it: it["metadata"]["labels"].update(a="b c")),
        changed(lambda it: it["metadata"].update(name="A_b")),
        changed(
            lambda it: it["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["httpGet"].update(
                port="x"
            )
        ),
    ]
    for each in spoilt:
        assert list(refusals(each, VERSION))
    monitor = _release("everything on").only("ServiceMonitor")
    assert list(refusals({**monitor, "spec": {**monitor["spec"], "endpoint": []}}, VERSION))
    said(f"{len(spoilt) + 1} spoilt objects")


def test_lints_and_packages(tmp_path: Path) -> None:
    """`helm lint` has no complaint, and the package that `helm package` makes installs like the folder."""
    with ApiServer() as server:
        configuration = helm_sdkpy.Configuration(kubeconfig=server.kubeconfig)
        linted = asyncio.run(helm_sdkpy.Lint(configuration).run(str(CHART)))
        archive = asyncio.run(helm_sdkpy.Package(configuration).run(str(CHART), str(tmp_path)))
    info = 1
    assert linted["Errors"] is None
    assert all(message["Severity"] <= info for message in linted["Messages"])
    values = CASES["everything on"].values
    packaged = install(values, chart=tmp_path / archive)
    assert packaged.manifest == _release("everything on").manifest
