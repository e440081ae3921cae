"""The Kubernetes manifests agree with each other, with the image and with the program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from poller import __version__
from poller.app import load_settings
from poller.web.server import Health, application

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
DOCKERFILE = (ROOT / "Dockerfile").read_text()
CONFIGURATION = FOLDER / "config.yaml"
MANIFESTS: dict[str, Any] = {
    document["kind"]: document
    for path in sorted(FOLDER.glob("*.yaml"))
    if path != CONFIGURATION
    for document in yaml.safe_load_all(path.read_text())
}
KUSTOMIZATION = MANIFESTS["Kustomization"]
(CONFIG_MAP,) = KUSTOMIZATION["configMapGenerator"]
DEPLOYMENT = MANIFESTS["Deployment"]["spec"]
POD = DEPLOYMENT["template"]["spec"]
(CONTAINER,) = POD["containers"]
MOUNTS = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
ENVIRONMENT = {variable["name"]: variable["value"] for variable in CONTAINER["env"]}


def _config(tmp_path: Path, *, commented: bool = False) -> Any:
    """The configuration as the program in the pod reads it, also with what is commented out."""
    text = CONFIGURATION.read_text()
    if commented:
        secret = tmp_path / "webhook-secret"
        secret.write_text(MANIFESTS["Secret"]["stringData"]["webhook-secret"])
        text = _uncommented(text)
        mounted = f"{MOUNTS['secrets']}/webhook-secret"
        assert mounted in text
        text = text.replace(mounted, str(secret))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_settings(path, {**ENVIRONMENT, "HOME": str(tmp_path)})


def _uncommented(text: str) -> str:
    return re.sub(r"^( *)# ([ -].*|\w+:.*)$", r"\1\2", text, flags=re.MULTILINE)


def test_kustomization_lists_every_manifest() -> None:
    """Everything is applied but the example of a secret, and nothing names a namespace."""
    listed = {*KUSTOMIZATION["resources"], *CONFIG_MAP["files"]}
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert listed == files - {"kustomization.yaml", "secret.example.yaml"}
    assert all("namespace" not in manifest.get("metadata", {}) for manifest in MANIFESTS.values())


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
def test_kustomize_builds() -> None:
    """`kubectl kustomize` takes the folder."""
    done = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {document["kind"] for document in yaml.safe_load_all(done.stdout)} == {
        "ConfigMap",
        *MANIFESTS.keys() - {"Kustomization", "Secret"},
    }


def test_the_role_can_be_switched_on() -> None:
    """What is commented out in the kustomization is a patch of the service account there is."""
    (patch,) = yaml.safe_load(_uncommented((FOLDER / "kustomization.yaml").read_text()))["patches"]
    account = MANIFESTS["ServiceAccount"]
    assert patch["target"] == {"kind": account["kind"], "name": account["metadata"]["name"]}
    (operation,) = yaml.safe_load(patch["patch"])
    # Which fits only as long as there are no annotations to be replaced.
    assert operation["path"] == "/metadata/annotations"
    assert "annotations" not in account["metadata"]


def test_selectors_match_labels() -> None:
    """The deployment and the service select the pods that the template makes."""
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    assert DEPLOYMENT["selector"]["matchLabels"].items() <= labels.items()
    assert MANIFESTS["Service"]["spec"]["selector"].items() <= labels.items()


def test_network_policy_lets_it_work() -> None:
    """The policy is for these pods, lets scrapes in, and names, HTTPS and Pod Identity out (fault 82)."""
    policy = MANIFESTS["NetworkPolicy"]["spec"]
    labels = DEPLOYMENT["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [{"ports": [{"port": CONTAINER["ports"][0]["name"], "protocol": "TCP"}]}]
    anywhere = [rule["ports"] for rule in policy["egress"] if "to" not in rule]
    assert {(each["port"], each["protocol"]) for ports in anywhere for each in ports} == {
        (53, "UDP"),
        (53, "TCP"),
        (5353, "UDP"),
        (5353, "TCP"),
        (443, "TCP"),
    }
    (agent,) = [rule for rule in policy["egress"] if "to" in rule]
    assert {"ipBlock": {"cidr": "169.254.170.23/32"}} in agent["to"]


def test_references_resolve() -> None:
    """The pod's service account, volumes and claims are those of the other manifests."""
    volumes = {volume["name"]: volume for volume in POD["volumes"]}
    assert volumes.keys() == MOUNTS.keys()
    assert POD["serviceAccountName"] == MANIFESTS["ServiceAccount"]["metadata"]["name"]
    assert volumes["config"]["configMap"]["name"] == CONFIG_MAP["name"]
    (source,) = volumes["secrets"]["projected"]["sources"]
    assert source["secret"] == {"name": MANIFESTS["Secret"]["metadata"]["name"], "optional": True}
    claim = MANIFESTS["PersistentVolumeClaim"]["metadata"]["name"]
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim
    (key,) = CONFIG_MAP["files"]
    assert ENVIRONMENT["BEDROCK_POLLER_CONFIG"] == f"{MOUNTS['config']}/{key}"


@pytest.mark.parametrize("commented", [False, True])
def test_configuration_is_accepted(tmp_path: Path, commented: bool) -> None:
    """The program takes the configuration, also with the webhook switched on."""
    settings = _config(tmp_path, commented=commented)
    assert len(settings.sinks) == 1 + commented
    assert settings.store.display_url == f"sqlite:///{MOUNTS['state']}/poller.db"


def test_probes_agree_with_the_web_server(tmp_path: Path) -> None:
    """The probes and the service ask paths and a port that the web server serves to others."""
    host, port = _config(tmp_path).web.address
    assert host == "0.0.0.0"  # noqa: S104 - a pod is reached from outside
    ports = {each["name"]: each["containerPort"] for each in CONTAINER["ports"]}
    health = Health(overdue=dict, probe=lambda: None, started=lambda: True)
    routes = {route.path for route in application(None, health).routes}  # type: ignore[arg-type, attr-defined]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = CONTAINER[probe]["httpGet"]
        assert ports[asked["port"]] == port
        assert asked["path"] in routes
    (served,) = MANIFESTS["Service"]["spec"]["ports"]
    assert ports[served["targetPort"]] == port
    annotations = MANIFESTS["Service"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(served["port"])
    assert annotations["prometheus.io/path"] in routes


def test_pod_may_end_in_peace(tmp_path: Path) -> None:
    """The pod gets the time that polls and sends may take, and seconds to spare."""
    grace = _config(tmp_path).shutdown.grace.total_seconds()
    assert grace + 10 <= POD["terminationGracePeriodSeconds"]


def test_one_writer_at_a_time() -> None:
    """No two pods ever use the database file."""
    assert DEPLOYMENT["replicas"] == 1
    assert DEPLOYMENT["strategy"] == {"type": "Recreate"}


def test_pod_is_restricted() -> None:
    """The pod keeps to the `restricted` standard, writes only to its volumes, and gets no stray variables."""
    assert POD["enableServiceLinks"] is False
    assert POD["automountServiceAccountToken"] is False
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    context = CONTAINER["securityContext"]
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["capabilities"] == {"drop": ["ALL"]}


def test_image_and_pod_agree() -> None:
    """User, port, state directory and version are those of the image."""
    assert f"USER {POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" in DOCKERFILE
    assert POD["securityContext"]["fsGroup"] == POD["securityContext"]["runAsGroup"]
    assert f"EXPOSE {CONTAINER['ports'][0]['containerPort']}" in DOCKERFILE
    assert f"STATE_DIRECTORY={MOUNTS['state']}" in DOCKERFILE
    assert CONTAINER["image"] == f"bedrock-poller:{__version__}"
    (image,) = KUSTOMIZATION["images"]
    assert image == {"name": "bedrock-poller", "newName": "bedrock-poller", "newTag": __version__}
    assert CONTAINER["args"] == ["run"]


def test_injected_variables_do_no_harm(tmp_path: Path) -> None:
    """Variables that Kubernetes makes of a service called bedrock-poller are no settings."""
    environ = {
        **os.environ,
        "HOME": str(tmp_path),
        "BEDROCK_POLLER_PORT": "tcp://10.0.0.1:9477",
        "BEDROCK_POLLER_SERVICE_HOST": "10.0.0.1",
        "BEDROCK_POLLER_PORT_9477_TCP_ADDR": "10.0.0.1",
        "BEDROCK_POLLER_CONFIG": "/etc/bedrock-poller/config/config.yaml",
    }
    assert load_settings(None, environ).web.listen == "127.0.0.1:9477"
