"""Generates what follows from elsewhere: copies and schema inside the chart, and the manifests for kustomize.

`make manifests` runs it. The manifests are what Helm renders from the chart with few values, without the
labels that only Helm needs; what is to be edited, the configuration and the image, is in files of its own.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy import chart
from tests.verify.release import install

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = chart.ROOT / "deploy" / "kubernetes"
VALUES: dict[str, Any] = {
    # kustomize makes it of config.yaml.
    "existingConfigMap": "bedrock-poller",
    "secretFiles": [{"secretName": "bedrock-poller", "optional": True}],
    "persistence": {"annotations": {"helm.sh/resource-policy": None}},
    # For scrape configurations that look for them.
    "service": {
        "annotations": {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9477",
            "prometheus.io/path": "/metrics",
        }
    },
}
FILES = {
    "ServiceAccount": "serviceaccount.yaml",
    "PersistentVolumeClaim": "pvc.yaml",
    "Deployment": "deployment.yaml",
    "NetworkPolicy": "networkpolicy.yaml",
    "Service": "service.yaml",
}
_HEADER = "# Generated from deploy/helm by `make manifests`; change it with patches of kustomize, not here.\n"
_OF_HELM = re.compile(
    r"^ +(helm\.sh/chart|app\.kubernetes\.io/(instance|managed-by|version)): .*\n", re.MULTILINE
)


def manifests() -> Iterator[tuple[Path, str]]:
    """Every generated manifest: where it belongs, and what it holds."""
    for part in install(VALUES).manifest.split("---\n"):
        text = re.sub(r"\A# Source: .*\n", "", part).rstrip()
        if text:
            kind = yaml.safe_load(text)["kind"]
            yield FOLDER / FILES[kind], _HEADER + _OF_HELM.sub("", f"{text}\n")


def main() -> int:
    """Write all of it."""
    chart.write()
    for path, text in manifests():
        path.write_text(text)
        sys.stdout.write(f"{path.relative_to(chart.ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
