"""A Bedrock to try bedrock-poller against, and to test it with.

`Simulator` holds the jobs and the controls, `SimulatorServer` puts it on a socket that any AWS SDK can talk
to, `faults` is what can go wrong, `Workload` what keeps it busy. It serves every declared kind of job:
`poller.kinds` says how, and `lifecycles` what becomes of the jobs.

    simulator = Simulator(seed=1, speed=60)
    with SimulatorServer(simulator) as server:
        boto3.client("bedrock", endpoint_url=server.url, ...)
"""

from poller.simulator import faults
from poller.simulator.jobs import JobState
from poller.simulator.server import SimulatorServer
from poller.simulator.simulator import DEFAULT_ACCOUNT, DEFAULT_REGION, Received, Simulator
from poller.simulator.world import Workload

__all__ = [
    "DEFAULT_ACCOUNT",
    "DEFAULT_REGION",
    "JobState",
    "Received",
    "Simulator",
    "SimulatorServer",
    "Workload",
    "faults",
]
