"""Renders the chart with Helm itself: `helm install` against a server that answers as Kubernetes would.

What comes back is what Helm installed and the server took; `apiserver` says what it takes.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import helm_sdkpy
import yaml

from tests.deploy.chart import CHART
from tests.verify.apiserver import VERSION, ApiServer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.verify.apiserver import Object


class InstallError(Exception):
    """Helm, or the server, refused; the message is what the user would read."""

    def __init__(self, message: str, left: Sequence[Object]) -> None:
        """`left` is what is in the cluster all the same."""
        super().__init__(message)
        self.left = left


@dataclass(frozen=True)
class Release:
    """What was installed."""

    manifest: str
    notes: str
    objects: tuple[Object, ...]
    """As the server took them, without what Helm adds to every object."""

    def of_kind(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        return [each for each in self.objects if each["kind"] == kind]

    def only(self, kind: str) -> Object:
        """The one object of a kind."""
        (found,) = self.of_kind(kind)
        return found


def install(
    values: Mapping[str, Any],
    name: str = "bedrock-poller",
    *,
    namespace: str = "prod",
    chart: Path = CHART,
    version: str = VERSION,
) -> Release:
    """Install the chart into an empty cluster of that version of Kubernetes.

    Raises:
        InstallError: It was refused.
    """
    with ApiServer(version) as server:
        configuration = helm_sdkpy.Configuration(namespace=namespace, kubeconfig=server.kubeconfig)
        # Applied by the server, as the command line does.
        action = helm_sdkpy.Install(configuration).run(
            name, str(chart), values=dict(values), wait=False, server_side_apply=True
        )
        try:
            done: dict[str, Any] = asyncio.run(action)
        except helm_sdkpy.HelmError as error:
            raise InstallError(str(error), [*server.objects.values()]) from error
        taken = tuple(_as_rendered(each, namespace) for each in server.objects.values())
    rendered = [each for each in yaml.safe_load_all(done["manifest"]) if each]
    if sorted(map(_canonical, rendered)) != sorted(map(_canonical, taken)):
        raise InstallError("what the server got is not what the manifest says", taken)
    return Release(done["manifest"], done["info"]["notes"], tuple(rendered))


def _as_rendered(taken: Object, namespace: str) -> Object:
    """An object without what Helm adds: its marks, and the namespace of the release."""
    metadata = dict(taken["metadata"])
    if metadata["namespace"] == namespace:
        del metadata["namespace"]
    annotations = {
        key: value
        for key, value in metadata.pop("annotations", {}).items()
        if not key.startswith("meta.helm.sh/")
    }
    if annotations:
        metadata["annotations"] = annotations
    return {**taken, "metadata": metadata}


def _canonical(each: Object) -> str:
    # Helm labels what has no such label, as further objects of the user may.
    labels = {"app.kubernetes.io/managed-by": "Helm", **each["metadata"].get("labels", {})}
    return json.dumps({**each, "metadata": {**each["metadata"], "labels": labels}}, sort_keys=True)
