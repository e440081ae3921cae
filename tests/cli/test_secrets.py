"""Canaries: no secret comes out of any command, at any level of the log, in any way of failing."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from poller.simulator import faults

if TYPE_CHECKING:
    from poller.simulator import Simulator, SimulatorServer
    from tests.cli.conftest import Shell

KEY = b64encode(b"CANARYsigningkeyCANARYsigningkey").decode()
CANARIES = {
    "signing key": KEY,
    "header": "CANARYheaderCANARY",
    "url": "CANARYurlCANARY",
    "external id": "CANARYexternalCANARY",
    "access key": "CANARYaccessCANARY",
    "password": "CANARYpasswordCANARY",
}
COMMANDS = [
    ["check-config"],
    ["iam-policy"],
    ["once", "--dry-run"],
    ["once"],
    ["sinks", "list"],
    ["sinks", "test", "ops"],
    ["migrate"],
    ["run"],
]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("broken", [False, True], ids=["valid", "invalid"])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_no_command_tells_a_secret(  # noqa: PLR0917 - fixtures and parameters
    at_work: Shell,
    bedrock: SimulatorServer,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    broken: bool,
    store: str,
) -> None:
    """Secrets planted in every setting that takes one are in no output of any command."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARIES["access key"])
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    external = at_work.write(CANARIES["external id"], "external")
    url = f"postgresql://poller:{CANARIES['password']}@127.0.0.1:9/none"
    at_work.set(POLL__FIRST_SCAN="emit", AWS__MAX_ATTEMPTS="1")
    if store == "postgresql":
        at_work.set(STORE__URL=url)
    path = at_work.write(
        f"""
targets:
  - {{name: own}}
  - {{name: other, role_arn: "arn:aws:iam::111111111111:role/r", external_id_file: "{external}"}}
sinks:
  ops:
    type: webhook
    url: "{bedrock.url}/{CANARIES["url"]}"
    secrets: ["whsec_{KEY}"]
    headers: {{authorization: "Bearer {CANARIES["header"]}"}}
    timeout: {"1x" if broken else "1s"}
"""
    )
    simulator.submit_batch(script=[("InProgress", 0)])
    simulator.faults.add(faults.Garbage(operation="ListAsyncInvokes"))
    monkeypatch.setenv("BEDROCK_POLLER_WEB__LISTEN", f"127.0.0.1:{bedrock.port}")  # so that run ends at once
    for command in COMMANDS:
        done = at_work(*command, "--config", path, "--log-level", "debug", "--log-format", form)
        assert done.code in {0, 1, 2}
        for what, canary in CANARIES.items():
            assert canary not in done.out + done.err, f"{what} from {' '.join(command)}"
    if at_work.store.exists():
        stored = at_work.store.read_bytes()
        assert not [what for what, canary in CANARIES.items() if canary.encode() in stored]
