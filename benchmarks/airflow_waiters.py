"""Lets one of Airflow's waiters watch each job, and posts its end; a program of its own.

It is run by a Python that has Airflow and nothing of this project. A task of Airflow waits in a process or in
the triggerer; here each waiter has a thread, which makes the same calls.
"""

import sys
import threading
from pathlib import Path
from typing import Any

import requests
from airflow.providers.amazon.aws.hooks.bedrock import (  # type: ignore[import-not-found] # not installed here
    BedrockHook,
)
from botocore.exceptions import WaiterError


def main() -> None:
    """Wait for the jobs whose ARNs are in the file, and post to the URL."""
    arns, receiver = Path(sys.argv[1]).read_text().split(), sys.argv[2]
    hook = BedrockHook(aws_conn_id=None)

    def watch(arn: str, waiter: Any) -> None:
        status = "Completed"
        try:
            waiter.wait(jobIdentifier=arn)
        except WaiterError as error:
            status = str(error.last_response.get("status"))
        requests.post(receiver, json={"data": {"job_arn": arn, "status": status}}, timeout=10)

    threads = [
        threading.Thread(target=watch, args=(arn, hook.get_waiter("batch_inference_complete")))
        for arn in arns
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
