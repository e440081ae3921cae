"""A pod on disk: its variables and files as its container would find them, without a cluster.

Volumes become folders, filled from ConfigMaps and Secrets. What names a path in the container names the
folder instead, in variables and in the configuration, so that the program can be asked about it here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import pytest

    from tests.verify.apiserver import Object

    Contents = Mapping[str, Mapping[str, str]]


def container_of(deployment: Object) -> Object:
    """The program's container of a Deployment: the first one, which kubectl takes by itself."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["name"] == "bedrock-poller"
    return dict(container)


def environment(deployment: Object, config_maps: Contents, secrets: Contents, folder: Path) -> dict[str, str]:
    """Put the files of the pod into a folder; returns its variables.

    Args:
        deployment: What makes the pod.
        config_maps: The ConfigMaps of the cluster: the keys and contents of each, by its name.
        secrets: The Secrets likewise.
        folder: Where to put the files.

    Raises:
        KeyError: The pod needs a ConfigMap, a Secret or a key that is not there, and so would not start.
    """
    pod = deployment["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    container = container_of(deployment)
    places = {mount["mountPath"]: folder / mount["name"] for mount in container["volumeMounts"]}
    del places["/tmp"]
    for mount in container["volumeMounts"]:
        place = folder / mount["name"]
        place.mkdir()
        for name, content in _files(volumes[mount["name"]], config_maps, secrets):
            file = place / name
            file.touch(mode=0o440)
            file.write_text(_moved(content, places))
    return {
        each["name"]: _moved(each["value"], places) for each in container.get("env", []) if "value" in each
    }


def enter(
    objects: Iterable[Object],
    config_maps: Contents,
    secrets: Contents,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Give this process the variables and files of the pod that these objects make, and no others of ours.

    Raises:
        KeyError: As `environment` does.
    """
    found = list(objects)
    (deployment,) = [each for each in found if each["kind"] == "Deployment"]
    own = {each["metadata"]["name"]: each["data"] for each in found if each["kind"] == "ConfigMap"}
    variables = environment(deployment, {**config_maps, **own}, secrets, folder)
    for variable in [each for each in os.environ if each.startswith(("BEDROCK_POLLER_", "AWS_"))]:
        monkeypatch.delenv(variable)
    for variable, value in {"STATE_DIRECTORY": str(folder / "state"), **variables}.items():
        monkeypatch.setenv(variable, value)


def _moved(text: str, places: Mapping[str, Path]) -> str:
    for path, place in places.items():
        text = text.replace(f"{path}/", f"{place}/")
    return text


def _files(volume: Object, config_maps: Contents, secrets: Contents) -> Iterator[tuple[str, str]]:
    if "configMap" in volume:
        yield from _chosen(config_maps, volume["configMap"]["name"], volume["configMap"])
    if "secret" in volume:
        yield from _chosen(secrets, volume["secret"]["secretName"], volume["secret"])
    for source in volume.get("projected", {}).get("sources", []):
        yield from _chosen(secrets, source["secret"]["name"], source["secret"])


def _chosen(contents: Contents, name: str, source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if source.get("optional") and name not in contents:
        return
    found = contents[name]
    if "items" not in source:
        yield from found.items()
    for item in source.get("items", []):
        yield item["path"], found[item["key"]]


def beyond_restricted(deployment: Object) -> list[str]:
    """Where a pod goes beyond the `restricted` Pod Security Standard, or writes to its own image."""
    pod = deployment["spec"]["template"]["spec"]
    wrong = [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    plain = {"configMap", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
    wrong += [
        f"volume {volume['name']}" for volume in pod["volumes"] if not volume.keys() - {"name"} <= plain
    ]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        own = container.get("securityContext", {})
        both = {**pod.get("securityContext", {}), **own}
        asked = {
            "runAsNonRoot": both.get("runAsNonRoot") is True,
            "runAsUser": both.get("runAsUser", 0) > 0,
            "seccompProfile": both.get("seccompProfile", {}).get("type") in {"RuntimeDefault", "Localhost"},
            "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
            "privileged": not own.get("privileged"),
            "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
            "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        wrong += [f"{container['name']}: {key}" for key, fine in asked.items() if not fine]
    return wrong
