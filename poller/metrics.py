"""Every metric, declared in one place, in a registry of its own.

Base units, the prefix `bedrock_poller_`, and no label that grows with the number of jobs. Series that a
configuration makes predictable exist from the start, at zero, so that a rate over them has a beginning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)

from poller import __version__
from poller.errors import AwsReason, DeliveryReason, RefusalReason, WakeUpResult
from poller.kinds import KINDS
from poller.model import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poller.model import Target

_PREFIX = "bedrock_poller"
_TARGET = ("target", "region", "kind")
_DELAYS = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 21600, 86400)
_POLLS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_SENDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
POLL_REASONS = (*AwsReason, "store", "lease_lost", "internal")
DELIVERY_STATES = ("pending", "dead", "dropped")
SCANS = ("window", "full")
ITEM_REASONS = ("type", "arn", "status", "depth")
_MOST_PREPARED = 1000
"""With more targets than this, a reason for which a target's polls fail has no series until they do."""
_WAKE_UP = ("type", "result")
WAKE_UP_TYPES = ("job", "object", "region", "unknown")
RETAINED = ("events", "deliveries", "dead_letters")


class Metrics:
    """The program's metrics; one instance for each process, passed to all code that counts."""

    def __init__(self) -> None:
        # They would double the series; Prometheus takes them for gauges of their own.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types
        self.registry = CollectorRegistry()
        self.build = Info(f"{_PREFIX}_build", "The running version; always 1.", registry=self.registry)
        self.build.info({"version": __version__})

        self.targets = self._gauge("targets", "Targets polled: region and kind.")
        self.unavailable = self._gauge(
            "targets_unavailable", "Targets of `regions: auto` that their account cannot use."
        )
        self.target_collisions = self._gauge(
            "target_collisions",
            "Targets that several configured names share; each is polled once.",
        )
        self.account_mismatches = self._counter(
            "account_mismatches", "Polls that listed jobs of another account than the target's.", *_TARGET
        )
        self.accounts = self._gauge("organization_accounts", "Accounts found in an organization.", "target")
        self.discovery_failures = self._counter(
            "organization_failures", "Failed listings of an organization.", "target"
        )
        self.polls = self._counter("polls", "Finished polls, failed ones included.", *_TARGET)
        self.poll_failures = self._counter(
            "poll_failures", "Polls that failed or ended early.", *_TARGET, "reason"
        )
        self.poll_duration = self._histogram(
            "poll_duration_seconds", "Duration of polls.", _POLLS, "region", "kind"
        )
        self.poll_lateness = self._histogram(
            "poll_lateness_seconds", "Delay from when a poll was due to its start.", _POLLS
        )
        self.poll_interval = self._gauge(
            "poll_interval_seconds",
            "Current interval; longer while idle, throttled or backlogged.",
            *_TARGET,
        )
        self.poll_stretch = self._gauge(
            "poll_stretch_factor",
            "How many times longer intervals are because `poll.concurrency` is too low; 1 if it is not.",
        )
        self.poll_budget_used = self._gauge(
            "poll_budget_used_ratio",
            "Part of the calls that `aws.poll_share` allows which this process used in the last minute.",
            "account_id",
            "region",
        )
        self.poll_last_success = self._gauge(
            "poll_last_success_timestamp_seconds",
            "Last complete poll of a target; 0 if none since the start.",
            *_TARGET,
        )
        self.clock_skew = self._gauge(
            "clock_skew_seconds", "The local clock minus the `Date` of AWS's last listing."
        )
        self.carried = self._counter(
            "poll_jobs_carried", "Jobs left to the next poll because the budget of calls was spent."
        )
        self.scans = self._counter("scans", "Listings started: `window` or `full`.", "scan")
        self.aws_requests = self._counter(
            "aws_api_requests", "Requests sent to AWS, retries included.", "service", "operation"
        )
        self.aws_failures = self._counter(
            "aws_api_request_failures",
            "Requests to AWS that failed, retried or not.",
            "service",
            "operation",
            "error_code",
        )
        self.aws_throttles = self._counter("aws_api_throttles", "Requests that AWS throttled.", "service")

        self.jobs = self._gauge(
            "jobs", "Jobs in the snapshot, ended ones included.", "account_id", "region", "kind", "status"
        )
        self.oldest_open_job = self._gauge(
            "oldest_open_job_submitted_timestamp_seconds",
            "Submission of the oldest open job.",
            "account_id",
            "region",
            "kind",
        )
        self.job_records = self._gauge(
            "job_records", "Records of open batch jobs.", "account_id", "region", "kind", "state"
        )
        self.quarantined = self._counter("items_quarantined", "Malformed items in listings.", "reason")
        self.get_failures = self._counter(
            "job_get_failures", "Failed Gets of single jobs; each is retried.", "reason"
        )
        self.details_unavailable = self._counter(
            "events_without_details", "Events of ended jobs whose Get failed."
        )
        self.unconfirmed = self._counter(
            "jobs_unconfirmed", "Missing open jobs whose Get did not tell whether they are gone."
        )
        self.transitions = self._counter(
            "transitions", "Changes of status, by the new status.", "kind", "status"
        )
        self.detection_delay = self._histogram(
            "detection_delay_seconds",
            "Delay from a change, by the service's time, to its detection.",
            _DELAYS,
        )
        self.events = self._counter("events", "Recorded events.", "type")
        self.events_unrouted = self._counter("events_unrouted", "Events that no route matches.")
        self._define_wake_ups()
        self.deliveries = self._counter("deliveries", "Delivered events.", "sink")
        self.delivery_failures = self._counter("delivery_failures", "Failed attempts.", "sink", "reason")
        self.deliveries_dead = self._counter("deliveries_dead", "Deliveries given up.", "sink")
        self.delivery_duration = self._histogram(
            "delivery_duration_seconds", "Duration of attempts.", _SENDS, "sink"
        )
        self.outbox = self._gauge(
            "outbox_deliveries", "Deliveries that are pending, dead or dropped.", "sink", "state"
        )
        self.outbox_oldest = self._gauge(
            "outbox_oldest_pending_timestamp_seconds",
            "When the oldest pending delivery was recorded; 0 if none.",
            "sink",
        )
        self.retention_removed = self._counter(
            "retention_removed", "Rows removed after `store.retention`.", "what"
        )
        self.sink_parked = self._gauge("sink_parked", "1 while a sink is parked.", "sink")
        self.reload_successful = self._gauge(
            "config_last_reload_successful", "1 if the last reading of the configuration succeeded."
        )
        self.store_lost = self._gauge(
            "store_lost", "1 once the open SQLite file was deleted or replaced; a restart is needed."
        )
        self.restart_needed = self._gauge(
            "config_restart_needed", "Changed sections of the configuration that need a restart."
        )
        self.leases_lost = self._counter("leases_lost", "Leases that another process took during work.")
        self.web_refused = self._counter("web_auth_failures", "Refused requests to the web server.", "reason")
        self.web_certificate = self._gauge(
            "web_certificate_not_after_timestamp_seconds",
            "Expiry of the web server's certificate; 0 without TLS.",
        )

    def _define_wake_ups(self) -> None:
        self.wake_ups = self._counter(
            "wake_ups",
            "Messages of queues of wake-ups, by what they are about and what came of it.",
            *_WAKE_UP,
        )
        self.wake_up_queue_reachable = self._gauge(
            "wake_up_queue_reachable", "1 if the last call to a queue of wake-ups succeeded.", "queue"
        )
        self.native_events_missed = self._counter(
            "native_events_missed",
            "Listed endings of which no native event told within 5 minutes.",
            "kind",
        )

    def prepare(self, targets: Iterable[Target], sinks: Iterable[str]) -> None:
        """Make the series of every target and sink exist; those that do keep their values."""
        watched = list(targets)
        self.targets.set(len(watched))
        for target in watched:
            labels = (target.name, target.region, target.kind)
            for metric in self._of_target:
                metric.labels(*labels)
            self.poll_budget_used.labels(*target.place)
            for reason in POLL_REASONS if len(watched) <= _MOST_PREPARED else ():
                self.poll_failures.labels(*labels, reason)
            kind = KINDS[target.kind]
            self.poll_duration.labels(target.region, target.kind)
            self.aws_throttles.labels(kind.service)
            for operation in (kind.list_operation, kind.get_operation):
                self.aws_requests.labels(kind.service, operation)
            for status in kind.statuses:
                self.transitions.labels(kind.name, status)
        for counter, values in (
            (self.events, (EventType.STATUS_CHANGED, EventType.DISAPPEARED)),
            (self.scans, SCANS),
            (self.quarantined, ITEM_REASONS),
            (self.get_failures, AwsReason),
            (self.retention_removed, RETAINED),
            (self.web_refused, RefusalReason),
        ):
            for value in values:
                counter.labels(value)
        for sink in sinks:
            self._prepare_sink(sink)

    def prepare_wake_ups(self, queues: Iterable[str]) -> None:
        """Make the series of wake-ups exist, if there are queues of them."""
        for queue in queues:
            self.wake_up_queue_reachable.labels(queue)
            for what in WAKE_UP_TYPES:
                for result in WakeUpResult:
                    self.wake_ups.labels(what, result)
            for kind in KINDS.values():
                if kind.native_events:
                    self.native_events_missed.labels(kind.name)

    def _prepare_sink(self, sink: str) -> None:
        for metric in self._of_sink:
            metric.labels(sink)
        for state in DELIVERY_STATES:
            self.outbox.labels(sink, state)
        for failure in DeliveryReason:
            self.delivery_failures.labels(sink, failure)

    def forget(
        self,
        targets: Iterable[tuple[str, str, str]],
        sinks: Iterable[str],
        organizations: Iterable[str] = (),
        places: Iterable[tuple[str, str]] = (),
        queues: Iterable[str] = (),
    ) -> None:
        """Remove the series of what is not configured any more, so that no alert waits for it.

        The next count of pending deliveries shows those of a removed sink again.

        Args:
            targets: Names, regions and kinds.
            sinks: Names of sinks.
            organizations: Names of targets that stood for an organization.
            places: Accounts and regions.
            queues: URLs of queues of wake-ups.
        """
        for account_id, region in places:
            self.poll_budget_used.remove_by_labels({"account_id": account_id, "region": region})
        for labels in targets:
            for metric in (*self._of_target, self.poll_failures):
                metric.remove_by_labels(dict(zip(_TARGET, labels, strict=True)))
        for name in organizations:
            for metric in (self.accounts, self.discovery_failures):
                metric.remove_by_labels({"target": name})
        for queue in queues:
            self.wake_up_queue_reachable.remove_by_labels({"queue": queue})
        for sink in sinks:
            for metric in (*self._of_sink, self.outbox, self.delivery_failures):
                metric.remove_by_labels({"sink": sink})

    @property
    def _of_target(self) -> tuple[Counter | Gauge | Histogram, ...]:
        """Those that have a series for each target, and no label besides."""
        return (self.polls, self.poll_last_success, self.poll_interval, self.account_mismatches)

    @property
    def _of_sink(self) -> tuple[Counter | Gauge | Histogram, ...]:
        """Those that have a series for each sink, and no label besides."""
        return (
            self.deliveries,
            self.deliveries_dead,
            self.delivery_duration,
            self.outbox_oldest,
            self.sink_parked,
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"{_PREFIX}_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"{_PREFIX}_{name}", text, labels, buckets=buckets, registry=self.registry)
