"""The Smithy client as the judge: it refuses epoch timestamps and shares no code with botocore."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from poller.simulator import Simulator
    from tests.simulator.conftest import Clock, Service

client_module = pytest.importorskip(
    "aws_sdk_bedrock_runtime.client", reason="aws_sdk_bedrock_runtime needs Python 3.12"
)


def run(service: Service, use: Callable[[Any, Any], Awaitable[None]]) -> None:
    """Give a new client and the module of its models to `use`."""
    from aws_sdk_bedrock_runtime import models
    from aws_sdk_bedrock_runtime.config import AsyncBedrockRuntimeConfig

    async def session() -> None:
        config = await AsyncBedrockRuntimeConfig.resolve(
            region="eu-west-1",
            endpoint_uri=service.url,
            aws_access_key_id="AKIDSMITHY",
            aws_secret_access_key="secret",
        )
        client = client_module.AsyncBedrockRuntimeClient(config)
        try:
            await use(client, models)
        finally:
            await client.close()

    asyncio.run(session())


def test_the_smithy_client_follows_an_invocation(
    simulator: Simulator, service: Service, clock: Clock
) -> None:
    """Start, get and list parse, with times and union members in the form this client insists on."""

    async def use(client: Any, models: Any) -> None:
        from smithy_core.documents import Document

        place = models.AsyncInvokeS3OutputDataConfig(s3_uri="s3://bucket/videos")
        started = await client.start_async_invoke(
            models.StartAsyncInvokeInput(
                model_id="amazon.nova-reel-v1:1",
                model_input=Document({"prompt": "x"}),
                output_data_config=models.AsyncInvokeOutputDataConfigS3OutputDataConfig(place),
            )
        )
        arn = started.invocation_arn
        simulator.force(arn, "Failed", message="no")
        job = await client.get_async_invoke(models.GetAsyncInvokeInput(invocation_arn=arn))
        assert (job.status, job.failure_message) == ("Failed", "no")
        assert job.submit_time == job.end_time == datetime(2026, 11, 20, 10, tzinfo=UTC)
        assert job.output_data_config.value == place
        assert job.client_request_token is None
        clock.tick(1)
        simulator.submit_async(region="eu-west-1")
        token, arns = None, []
        while True:
            page = await client.list_async_invokes(
                models.ListAsyncInvokesInput(
                    max_results=1, submit_time_after=datetime(2026, 1, 1, tzinfo=UTC), next_token=token
                )
            )
            arns += [item.invocation_arn for item in page.async_invoke_summaries]
            token = page.next_token
            if token is None:
                break
        assert len(arns) == 2
        assert arns[1] == arn

    run(service, use)


def test_the_smithy_client_knows_the_errors(simulator: Simulator, service: Service) -> None:
    """An error arrives as its modelled class, found by header, with its message."""

    async def use(client: Any, models: Any) -> None:
        unknown = "arn:aws:bedrock:eu-west-1:123456789012:async-invoke/abcdefghwxyz"
        with pytest.raises(models.ValidationException, match="was not found"):
            await client.get_async_invoke(models.GetAsyncInvokeInput(invocation_arn=unknown))

    run(service, use)
