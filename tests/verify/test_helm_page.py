"""The page about Kubernetes, tried up to the cluster's door: its commands, with the values that it shows."""

from __future__ import annotations

import base64
import json
import re
import shlex
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

if sys.hexversion < 0x030C0000:
    pytest.skip("Helm's library for Python needs 3.12", allow_module_level=True)

from poller.cli import run
from tests.deploy.chart import ROOT
from tests.docs.pages import blocks
from tests.verify.apiserver import VERSION, refusals
from tests.verify.kubectl import kubectl
from tests.verify.pod import enter
from tests.verify.release import install

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Said = Callable[[str], None]

PAGE = [block for block in blocks("bash", "yaml") if block.page == ROOT / "docs" / "kubernetes.md"]


def test_commands_of_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: Said
) -> None:
    """What docs/kubernetes.md says to type makes releases with a good configuration and all their Secrets."""
    texts = [block.text for block in PAGE if block.language == "yaml"]
    values, replicas, *additions = [yaml.safe_load(text) for text in texts]
    lines = [
        line
        for block in PAGE
        if block.language == "bash"
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
    ]
    (install_line,) = [line for line in lines if line.startswith("helm install ")]
    assert lines.index(install_line) == 4, "five commands, and this is the last"
    _, _, name, chart, _, namespace, *rest = shlex.split(install_line)
    assert rest == ["--values", "values.yaml"]
    secrets = _made_secrets(lines, namespace, tmp_path)
    for index, given in enumerate([values, replicas, *({**values, **each} for each in additions)]):
        release = install(given, name, namespace=namespace, chart=ROOT / chart)
        folder = tmp_path / str(index)
        folder.mkdir()
        enter(release.objects, {}, secrets, folder, monkeypatch)
        assert run(["check-config"]) == 0, capsys.readouterr().err
    # What else the page names has to be there.
    first = install(values, name, namespace=namespace)
    for line in lines:
        words = shlex.split(line)
        if "exec" in words:
            assert f"deployment/{first.only('Deployment')['metadata']['name']}" in words
        if "persistentvolumeclaim" in words:
            assert first.only("PersistentVolumeClaim")["metadata"]["name"] in words
        if words[0] in {"helm", "kubectl"} and "namespace" not in words:
            assert words[words.index("--namespace") + 1] == namespace
    said(f"{len(lines)} commands, {len(texts)} sets of values")


def _made_secrets(lines: list[str], namespace: str, folder: Path) -> dict[str, dict[str, str]]:
    """The Secrets that the page's own `kubectl create secret` would make."""
    (folder / "database-password").write_text("tiger\n")
    secrets = {}
    for line in lines:
        if not line.startswith("kubectl create secret "):
            continue
        made = kubectl(f"{line} --dry-run=client --output json", folder)
        secret = json.loads(made)
        assert list(refusals(secret, VERSION)) == []
        assert secret["metadata"]["namespace"] == namespace
        secrets[secret["metadata"]["name"]] = {
            key: base64.b64decode(value).decode() for key, value in secret["data"].items()
        }
    return secrets
