"""A canary for every setting that is a secret, and a configuration that has them all.

Which settings those are is asked of the settings themselves: whatever is a `SecretStr`, and every file but
those that are public.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

import trustme
import yaml
from pydantic import BaseModel, SecretStr

from poller.app.configuration import settings_model
from poller.sinks import registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def _key(word: str) -> str:
    return b64encode(f"CANARY{word}".ljust(32, "x").encode()).decode()


AUTHORITY = trustme.CA()
_CERTIFICATE = AUTHORITY.issue_cert("127.0.0.1")
_HASH = "$2b$04$CANARYhashCANARYhashCA.{}"

STORE = "store.url"
STORE_FILE = "store.password_file"
CANARIES = {
    STORE: "CANARYstoreCANARY",
    STORE_FILE: "CANARYstorefileCANARY",
    "targets.external_id": "CANARYexternalidCANARY",
    "targets.external_id_file": "CANARYexternalfileCANARY",
    "wake_ups.external_id": "CANARYqueueidCANARY",
    "wake_ups.external_id_file": "CANARYqueuefileCANARY",
    "sinks.webhook.url": "CANARYurlCANARY",
    "sinks.webhook.url_file": "CANARYurlfileCANARY",
    "sinks.webhook.secrets": _key("one"),
    "sinks.webhook.secret_file": _key("two"),
    "sinks.webhook.secret_files": _key("three"),
    "sinks.webhook.headers": "CANARYheaderCANARY",
    "sinks.webhook.header_files": "CANARYheaderfileCANARY",
    "sinks.webhook.proxy": "CANARYproxyCANARY",
    "sinks.webhook.proxy_auth_file": "CANARYproxyfileCANARY",
    "web.tls.key_file": _CERTIFICATE.private_key_pem.bytes().decode().splitlines()[1],
    "web.auth.basic_auth_users": _HASH.format("CANARYone".ljust(30, "x")),
    "web.auth.basic_auth_users_file": _HASH.format("CANARYtwo".ljust(30, "x")),
    "web.auth.token_file": "CANARYtokenfileCANARY",
}
"""By the setting it is planted in."""

PUBLIC = frozenset({"sinks.webhook.ca_file", "web.tls.cert_file", "web.tls.client_ca_file"})
"""Settings that name a file which is no secret."""

ACCESS_KEY = "CANARYaccesskeyCANARY"
"""The SDK's own, from the environment."""


def secret_settings(model: type[BaseModel] | None = None, path: str = "") -> Iterator[str]:
    """Every setting that is a secret or names a file: `targets.external_id`, `sinks.webhook.url`."""
    for name, field in (model or settings_model()).model_fields.items():
        here = f"{path}.{name}" if path else name
        if here == "sinks":
            for kind, settings in registry.settings_types().items():
                yield from secret_settings(settings, f"sinks.{kind}")
            continue
        types = list(_types(field.annotation))
        if SecretStr in types or name.endswith(("_file", "_files")):
            yield here
        for each in types:
            if issubclass(each, BaseModel):
                yield from secret_settings(each, here)


def _types(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type) and not get_args(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _types(argument)


def everything(text: str) -> list[str]:
    """The settings whose canaries are in a text, in whatever form they could have got there."""
    found = []
    for setting, canary in [*CANARIES.items(), ("access key", ACCESS_KEY)]:
        forms = {canary, quote(canary, safe=""), b64encode(canary.encode()).decode().rstrip("=")}
        if any(form in text for form in forms):
            found.append(setting)
    return found


def planted(folder: Path, receiver: str, **webhook: Any) -> dict[str, Any]:
    """A configuration with every canary but the store's; its files are written to a folder.

    Args:
        folder: Where the files go.
        receiver: The address that both of its webhooks post to.
        webhook: Further settings of those.
    """

    def file(setting: str, content: str = "{}") -> str:
        path = folder / setting.replace(".", "-")
        path.write_text(content.format(CANARIES[setting]) + "\n")
        path.chmod(0o600)
        return str(path)

    both = _CERTIFICATE.private_key_and_cert_chain_pem.bytes().decode()
    certificate = file("web.tls.key_file", both)
    role = "arn:aws:iam::{}:role/r"
    return {
        "targets": [
            {"name": "own"},
            {
                "name": "other",
                "role_arn": role.format("111111111111"),
                "external_id": CANARIES["targets.external_id"],
            },
            {
                "name": "third",
                "role_arn": role.format("222222222222"),
                "external_id_file": file("targets.external_id_file"),
            },
        ],
        "wake_ups": [
            {
                "type": "sqs",
                "queue_url": "https://sqs.us-east-1.amazonaws.com/111111111111/one",
                "role_arn": role.format("111111111111"),
                "external_id": CANARIES["wake_ups.external_id"],
            },
            {
                "type": "sqs",
                "queue_url": "https://sqs.us-east-1.amazonaws.com/222222222222/two",
                "role_arn": role.format("222222222222"),
                "external_id_file": file("wake_ups.external_id_file"),
            },
        ],
        "sinks": {
            "ops": {
                "type": "webhook",
                "url": f"{receiver}/{CANARIES['sinks.webhook.url']}",
                "secrets": [f"whsec_{CANARIES['sinks.webhook.secrets']}"],
                "secret_file": file("sinks.webhook.secret_file", "whsec_{}"),
                "secret_files": [file("sinks.webhook.secret_files", "whsec_{}")],
                "headers": {"authorization": f"Bearer {CANARIES['sinks.webhook.headers']}"},
                "header_files": {"x-token": file("sinks.webhook.header_files")},
                **webhook,
            },
            "more": {
                "type": "webhook",
                "url_file": file("sinks.webhook.url_file", receiver + "/{}"),
                "proxy": receiver.replace("://", f"://corp:{CANARIES['sinks.webhook.proxy']}@"),
                "proxy_auth_file": file("sinks.webhook.proxy_auth_file", "corp:{}"),
                **webhook,
            },
        },
        "web": {
            "tls": {"cert_file": certificate, "key_file": certificate},
            "auth": {
                "basic_auth_users": {"prometheus": CANARIES["web.auth.basic_auth_users"]},
                "basic_auth_users_file": file("web.auth.basic_auth_users_file", "grafana:{}"),
                "token_file": file("web.auth.token_file"),
            },
        },
    }


def written(folder: Path, configuration: dict[str, Any]) -> str:
    """Write a configuration to a file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return str(path)
