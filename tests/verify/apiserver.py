"""As much of a Kubernetes API server as `helm install` and `kubectl apply` need to believe that it is one.

It serves discovery, keeps what is sent to it, and refuses what a real one would refuse: each object is held
against the schema of its kind, strictly, and against the rules of names, labels and references that no schema
states. So "installed" means that the objects are good, not only that something was printed. It runs no pods.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import yaml
from kubernetes_validate import utils as kubernetes

from tests.harness.receiver import Listening

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Object = dict[str, Any]

VERSION = "1.37"
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_SCHEMAS = Path(__file__).with_name("schemas")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


@dataclass(frozen=True)
class Resource:
    """A kind of object, and where it is served."""

    version: str
    plural: str
    kind: str


RESOURCES = (
    Resource("v1", "configmaps", "ConfigMap"),
    Resource("v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Resource("v1", "secrets", "Secret"),
    Resource("v1", "serviceaccounts", "ServiceAccount"),
    Resource("v1", "services", "Service"),
    Resource("apps/v1", "deployments", "Deployment"),
    Resource("monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule"),
    Resource("monitoring.coreos.com/v1", "servicemonitors", "ServiceMonitor"),
    Resource("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Resource("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
)


class ApiServer(Listening):
    """Serves on loopback while it is entered, and has the objects that were accepted."""

    def __init__(self, version: str = VERSION) -> None:
        """`version` is that of Kubernetes, such as `1.37`."""
        self.version = version
        self.objects: dict[str, Object] = {}
        self.refused: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 30
            # Head and body in one piece: otherwise each answer waits for an acknowledgement, 40 ms.
            wbufsize = -1

            def _answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length") or 0))
                content_type = self.headers.get("content-type", "")
                path = self.path.partition("?")[0]
                status = 200
                # Helm's own record of a release, which it wants back as it is.
                if content_type != _PROTOBUF or "/secrets" not in path:
                    status, document = server.answer(self.command, path, content, content_type)
                    content_type, content = "application/json", json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the library calls these

            def log_message(self, *_: object) -> None:
                """Stay silent."""

        listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        listener.daemon_threads = True
        super().__init__(listener)

    @property
    def kubeconfig(self) -> str:
        """What leads kubectl and Helm here, and nowhere else."""
        return yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "stub",
                "contexts": [{"name": "stub", "context": {"cluster": "stub", "user": "stub"}}],
                "clusters": [{"name": "stub", "cluster": {"server": self.url}}],
                "users": [{"name": "stub", "user": {"token": "stub"}}],
            }
        )

    def of_kind(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        return [each for each in self.objects.values() if each["kind"] == kind]

    def answer(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, Object]:
        """What a request gets: status and document."""
        if method == "GET":
            found = _discovery(path, self.version) or self.objects.get(path) or _releases(path)
            return (200, found) if found else _status(404, "NotFound", f"{path} is not here")
        if method == "DELETE":
            return 200, self.objects.pop(path, {})
        applied = content_type == "application/apply-patch+yaml"
        if not applied and "json" not in content_type:
            return _status(415, "UnsupportedMediaType", f"{content_type} is not spoken here")
        sent: Object = yaml.safe_load(body)
        if method == "PATCH":
            sent = _merged(self.objects.get(path, {}) if applied else self.objects[path], sent)
        if problems := list(refusals(sent, self.version)):
            text = f"{sent.get('kind')} {sent.get('metadata', {}).get('name')}: {'; '.join(problems)}"
            self.refused.append(text)
            return _status(422, "Invalid", text)
        place = f"{path}/{sent['metadata']['name']}" if method == "POST" else path
        self.objects[place] = sent
        return 201 if method == "POST" else 200, sent


def _status(code: int, reason: str, message: str) -> tuple[int, Object]:
    return code, {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "code": code,
        "message": message,
    }


def _merged(old: Any, patch: Any) -> Any:
    """Merge a patch; lists are replaced, which is not what a real one does with all of them."""
    if not isinstance(old, dict) or not isinstance(patch, dict):
        return patch
    kept = {key: value for key, value in old.items() if key not in patch}
    changed = {key: _merged(old.get(key), value) for key, value in patch.items() if value is not None}
    return {**kept, **changed}


def _discovery(path: str, version: str) -> Object | None:
    groups: dict[str, list[Resource]] = {}
    for each in RESOURCES:
        groups.setdefault(each.version, []).append(each)
    if path == "/version":
        major, _, minor = version.partition(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{version}.0"}
    if path in {"/api", "/apis"}:
        return _versions(groups) if path == "/apis" else {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/openapi/v3":
        return {
            "paths": {place: {"serverRelativeURL": f"/openapi/v3/{place}"} for place in map(_place, groups)}
        }
    for name, resources in groups.items():
        if path == f"/openapi/v3/{_place(name)}":
            return {"openapi": "3.0.0", "paths": dict(map(_operations, resources))}
    served = groups.get(path.removeprefix("/apis/").removeprefix("/api/"))
    if served is None:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].version,
        "resources": [
            {
                "name": each.plural,
                "singularName": each.kind.lower(),
                "kind": each.kind,
                "namespaced": True,
                "verbs": ["create", "delete", "get", "list", "patch", "update"],
            }
            for each in served
        ],
    }


def _versions(names: Iterable[str]) -> Object:
    served = [{"groupVersion": name, "version": name.partition("/")[2]} for name in names if "/" in name]
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [
            {"name": each["groupVersion"].partition("/")[0], "versions": [each], "preferredVersion": each}
            for each in served
        ],
    }


def _place(version: str) -> str:
    return f"apis/{version}" if "/" in version else f"api/{version}"


def _operations(resource: Resource) -> tuple[str, Object]:
    """All that clients look for: that the server validates, so that they need not."""
    group, _, version = resource.version.rpartition("/")
    kind = {"group": group, "version": version, "kind": resource.kind}
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    patch = {
        "x-kubernetes-group-version-kind": kind,
        "x-kubernetes-action": "patch",
        "parameters": [parameter],
    }
    path = f"/{_place(resource.version)}/namespaces/{{namespace}}/{resource.plural}/{{name}}"
    return path, {"patch": patch}


def _releases(path: str) -> Object | None:
    """No release of Helm is here yet."""
    if not path.endswith("/secrets"):
        return None
    return {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": []}


def refusals(sent: Object, version: str) -> Iterator[str]:
    """What a real API server would refuse an object for."""
    try:
        _validate(sent, version)
    except jsonschema.ValidationError as error:
        yield f"{'.'.join(map(str, error.path))}: {error.message}"
        return
    except kubernetes.SchemaNotFoundError as error:
        yield error.message
        return
    metadata = sent["metadata"]
    if not _NAME.fullmatch(metadata["name"]):
        yield f"metadata.name: {metadata['name']!r} is no name"
    yield from _bad_labels("metadata.labels", metadata.get("labels", {}))
    if sent["kind"] == "Service" and (len(metadata["name"]) > 63 or "." in metadata["name"]):
        yield f"metadata.name: {metadata['name']!r} is no name of a service"
    if sent["kind"] == "Deployment":
        yield from _deployment_problems(sent["spec"])


def _validate(sent: Object, version: str) -> None:
    own = _SCHEMAS / f"{sent['kind'].lower()}.json"
    if own.exists():
        jsonschema.Draft202012Validator(json.loads(own.read_text())).validate(sent)
    else:
        kubernetes.validate(sent, version, strict=True)


def _bad_labels(place: str, labels: dict[str, str]) -> Iterator[str]:
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
            yield f"{place}: {key}={value} is no label"


def _deployment_problems(spec: Object) -> Iterator[str]:
    template = spec["template"]
    labels = template["metadata"]["labels"]
    yield from _bad_labels("spec.template.metadata.labels", labels)
    if not spec["selector"]["matchLabels"].items() <= labels.items():
        yield "spec.selector: does not match the labels of the template"
    if spec["strategy"]["type"] == "Recreate" and "rollingUpdate" in spec["strategy"]:
        yield "spec.strategy.rollingUpdate: may not be set with Recreate"
    pod = template["spec"]
    volumes = [volume["name"] for volume in pod.get("volumes", [])]
    yield from (f"volumes: {name} is there twice" for name in set(volumes) if volumes.count(name) > 1)
    containers = [*pod.get("initContainers", []), *pod["containers"]]
    names = [container["name"] for container in containers]
    yield from (f"containers: {name} is there twice" for name in set(names) if names.count(name) > 1)
    for container in containers:
        mounts = container.get("volumeMounts", [])
        yield from (
            f"volumeMounts: there is no volume {mount['name']}"
            for mount in mounts
            if mount["name"] not in volumes
        )
        paths = [mount["mountPath"] for mount in mounts]
        yield from (f"volumeMounts: {path} is there twice" for path in set(paths) if paths.count(path) > 1)
        ports = {port.get("name") for port in container.get("ports", [])}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = container.get(probe, {}).get("httpGet", {}).get("port")
            if isinstance(asked, str) and asked not in ports:
                yield f"{probe}: there is no port {asked}"
