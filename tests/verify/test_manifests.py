"""The plain manifests are what the chart says, and kubectl and the API server take them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

if sys.hexversion < 0x030C0000:
    pytest.skip("Helm's library for Python needs 3.12", allow_module_level=True)

from tests.deploy.chart import ROOT
from tests.docs.pages import blocks
from tests.verify import manifests
from tests.verify.apiserver import VERSION, ApiServer
from tests.verify.kubectl import kubectl
from tests.verify.pod import beyond_restricted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Said = Callable[[str], None]


def test_manifests_are_current(said: Said) -> None:
    """Each manifest of deploy/kubernetes is what `make manifests` would write, and none is left over."""
    generated = dict(manifests.manifests())
    for path, text in generated.items():
        assert path.read_text() == text, path.name
    by_hand = {"config.yaml", "kustomization.yaml", "secret.example.yaml"}
    assert {path.name for path in manifests.FOLDER.glob("*.yaml")} == by_hand | {
        path.name for path in generated
    }
    said(f"{len(generated)} files")


def test_manifests_are_valid(said: Said) -> None:
    """`kubernetes-validate --strict` takes every manifest as it stands, also the example of a Secret."""
    others = {"config.yaml", "kustomization.yaml"}
    files = [path for path in sorted(manifests.FOLDER.glob("*.yaml")) if path.name not in others]
    command = [sys.executable, "-m", "kubernetes_validate", "--strict", "-k", VERSION, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("passed") == len(files)
    said(f"{len(files)} files, Kubernetes {VERSION}")


def test_commands_of_the_page(tmp_path: Path, said: Said) -> None:
    """`kubectl apply -k`, as the README has it, makes every object, and changes nothing the second time."""
    page = manifests.FOLDER / "README.md"
    lines = [line for block in blocks("bash") if block.page == page for line in block.text.splitlines()]
    (apply,) = [line for line in lines if line.startswith("kubectl apply ")]
    with ApiServer() as server:
        (tmp_path / "kubeconfig").write_text(server.kubeconfig)
        first = kubectl(apply, tmp_path, folder=ROOT)
        again = kubectl(apply, tmp_path, folder=ROOT)
    (deployment,) = server.of_kind("Deployment")
    (config_map,) = server.of_kind("ConfigMap")
    assert first.count(" created") == len(server.objects) == len(manifests.FILES) + 1
    assert again.count(" unchanged") == len(server.objects)
    volumes = {each["name"]: each for each in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes["config"]["configMap"]["name"] == config_map["metadata"]["name"]
    assert beyond_restricted(deployment) == []
    (secret_line,) = [line for line in lines if line.startswith("kubectl create secret ")]
    secret = yaml.safe_load(kubectl(f"{secret_line} --dry-run=client --output yaml", tmp_path))
    assert volumes["secrets"]["projected"]["sources"][0]["secret"]["name"] == secret["metadata"]["name"]
    said(f"{len(server.objects)} objects")
