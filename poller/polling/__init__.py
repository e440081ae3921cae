"""The loop that looks: lists and gets jobs, diffs them against the snapshot, records what changed."""

from poller.polling.cadence import Cadence
from poller.polling.dry_run import DryRun
from poller.polling.page import PollReport
from poller.polling.poller import Poller, unlimited
from poller.polling.replicas import ReplicaWatcher
from poller.polling.scheduler import PollScheduler

__all__ = ["Cadence", "DryRun", "PollReport", "PollScheduler", "Poller", "ReplicaWatcher", "unlimited"]
