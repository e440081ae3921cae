"""Builds the components from a configuration; starts nothing."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING

from poller import logs
from poller.app.accounts import AccountIds, described
from poller.app.targets import Accounts, discover_accounts, load_accounts, resolve_targets
from poller.aws import AccountAccess, JobsApi, Sessions
from poller.delivery import SinkWorker
from poller.errors import AwsReason
from poller.heartbeats import Heartbeats
from poller.kinds import kinds
from poller.metrics import Metrics
from poller.model import Target
from poller.pacing import call_budget
from poller.polling import Cadence, DryRun, Poller, unlimited
from poller.routing import Router
from poller.sinks import registry
from poller.sinks.isolation import SinkLoop
from poller.store import Database, Outbox, Snapshot
from poller.wake_ups import Dispatcher, QueueListener, SqsQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from poller.errors import AwsError
    from poller.settings.schema import Settings
    from poller.settings.wake_ups import SqsWakeUps
    from poller.store import Observation

_log = logs.get(__name__)

_PAGE_SECONDS = 10.0
"""How long a statement for a page or an answer of the API may take."""

_GETS_OF = timedelta(seconds=30)
"""Without a fixed interval, one poll makes at most as many Gets as the limit allows in this time."""

_CLAIMED = 0.8
"""A claim on a target stands for this part of `store.lease`; the rest is for others to notice."""


class Runtime:
    """What outlives a reload: the store, the metrics, and the heartbeats.

    Args:
        settings: The first configuration.
        database: The store, not yet prepared; the configured one by default.

    Raises:
        StoreError: The store cannot be opened.
    """

    def __init__(self, settings: Settings, database: Database | None = None) -> None:
        self.metrics = Metrics()
        self.heartbeats = Heartbeats(patience=settings.health.patience.total_seconds())
        self.database = database or Database.configured(settings.store)
        # Pages and the API have connections of their own: one that is slow takes none from polling.
        self.pages = self.database
        if database is None and self.database.path != ":memory:":
            self.pages = Database.configured(settings.store)
            self.pages.limit_statements(_PAGE_SECONDS)
        owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        lease = _CLAIMED * settings.store.lease.total_seconds()
        self.snapshot = Snapshot(self.database, owner=owner, lease=lease)
        self.outbox = Outbox(self.database)
        self.threads = ThreadPoolExecutor(8, thread_name_prefix="store")

    def close(self) -> None:
        """Release threads and connections."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.pages.close()
        self.database.close()


class Components:
    """Everything that a command works with.

    Args:
        settings: The configuration.
        database: The store, not yet prepared; the configured one by default.
        runtime: That of the configuration before, after a reload.
        accounts: Those that organizations had then.
        account_ids: The accounts behind the credentials, where these are the same as then.

    Raises:
        ConfigError: The configuration needs something that is not there.
        StoreError: The store cannot be opened.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database | None = None,
        runtime: Runtime | None = None,
        accounts: Accounts | None = None,
        account_ids: Mapping[AccountAccess, str] | None = None,
    ) -> None:
        self.settings = settings
        self.stop = threading.Event()
        self._kinds = kinds(outcome_by_records=settings.outcomes.by_records)
        self.runtime = runtime or Runtime(settings, database)
        self.metrics = self.runtime.metrics
        self.heartbeats = self.runtime.heartbeats
        self.database = self.runtime.database
        self.snapshot = self.runtime.snapshot
        self.outbox = self.runtime.outbox
        self.sessions = Sessions(
            self.metrics,
            requests_per_second=settings.aws.requests_per_second,
            max_attempts=settings.aws.max_attempts,
            # A poll lists and gets side by side.
            pool_size=settings.poll.concurrency * (settings.poll.details_concurrency + 1),
            stop=self.stop,
        )
        self.accounts = accounts or {}
        self.account_ids = AccountIds(account_ids)
        self._attempts = Counter[Target]()
        self._watch()
        self.router = Router(settings.routes, list(settings.sinks))
        self._first = runtime is None
        if self._first:
            self.metrics.prepare(self.targets, settings.sinks)

    def _watch(self) -> None:
        found = resolve_targets(self.settings, self.sessions, self.accounts, self.account_ids.of)
        self.targets = found.access
        self.optional = found.optional
        self.shared = found.shared
        self._sharing = Counter((each[0], target.region) for target, each in self.targets.items())

    def discover_accounts(self) -> Accounts:
        """Ask the organizations for their accounts; where that fails, they are the known ones."""
        remember = self.snapshot.rows.remember_organization
        return discover_accounts(self.settings, self.sessions, self.metrics, self.accounts, remember)

    @property
    def unknown_accounts(self) -> bool:
        """Whether the account of a target is not known yet."""
        return any(target.account_id is None for target in self.targets)

    def find_accounts(self) -> None:
        """Learn which account each target is in, and merge the targets that are the same.

        Raises:
            StoreError: The store cannot be read.
        """
        self.ask_for_accounts()
        self._watch()

    def ask_for_accounts(self) -> bool:
        """Ask for every unknown account, and say whether any was learned; the targets stay as they are."""
        if not self.unknown_accounts:
            return False
        before = self.account_ids.known
        reached = ((target, access) for target, each in self.targets.items() for access in each)
        self.account_ids.resolve(self.sessions, reached, self.snapshot.rows.accounts_by_name())
        return self.account_ids.known != before

    def learn(self, target: Target, account_id: str) -> bool:
        """Take note of the account whose jobs a target's listing shows; returns whether that is news."""
        return self.account_ids.learn(self._access(target), account_id)

    def open_store(self) -> None:
        """Make the store ready: create, check and migrate it, and know every target.

        Raises:
            StoreError: It cannot be used.
        """
        self.database.prepare()
        before, after = self.database.migrate()
        if before != after:
            _log.info("store.migrated", before=before, after=after)
        self.announce()

    def announce(self, *, discover: bool = True) -> None:
        """Find the accounts, let the store know every target, and log what is owed to removed sinks.

        Args:
            discover: Ask the organizations, rather than believe the accounts there are.

        Raises:
            ConfigError: An account that was found has no region.
            StoreError: It cannot be used.
        """
        if self.refresh is not None and discover:
            if not self.accounts:
                rows = self.snapshot.rows
                self.accounts = load_accounts(self.settings, self.sessions, rows.names(), rows.organization)
            self.accounts = self.discover_accounts()
            self._watch()
        before = _places(self)
        self.find_accounts()
        self.snapshot.rows.register(self.targets)
        if self._first:
            self.metrics.forget((), (), places=before - _places(self))
            self._prepare_metrics()
        self._warn_of_shared()
        self._warn_of_orphans()

    def _prepare_metrics(self) -> None:
        self.metrics.prepare(self.targets, self.settings.sinks)
        self.metrics.prepare_wake_ups(queue.queue_url for queue in self.settings.wake_ups)
        self.metrics.target_collisions.set(len(self.shared))

    def _warn_of_shared(self) -> None:
        """Say which targets the configuration names more than once."""
        for target in self.shared:
            _log.warning(
                "target.shared",
                target=target.id,
                account_id=target.account_id,
                names=list(target.names),
                why="several configured targets lead to one account, region and kind; it is polled once, and"
                " events carry every name",
            )

    def _warn_of_orphans(self) -> None:
        """Say so if deliveries are owed to sinks that are no longer configured."""
        for sink, backlog in self.outbox.backlog().items():
            pending = backlog.states.get("pending", 0)
            if sink not in self.settings.sinks and pending:
                _log.warning(
                    "sink.removed_with_pending",
                    sink=sink,
                    deliveries=pending,
                    remedy=f"configure it, or give them up: bedrock-poller deliveries drop --sink {sink}",
                )

    @property
    def refresh(self) -> float | None:
        """Seconds between two looks at the organizations; `None` if there are none."""
        spans = [each.organization.refresh for each in self.settings.targets if each.organization]
        return min(spans).total_seconds() if spans else None

    def workers(self) -> list[SinkWorker]:
        """A worker for every configured sink."""
        shared = SinkLoop("http-sinks")
        return [
            SinkWorker(
                sink=registry.build(name, settings, shared),
                outbox=self.outbox,
                lease=self.settings.store.lease.total_seconds(),
                threads=self.runtime.threads,
                metrics=self.metrics,
                heartbeats=self.heartbeats,
            )
            for name, settings in self.settings.sinks.items()
        ]

    def dispatcher(self, wake: Callable[[str], Awaitable[object]]) -> Dispatcher:
        """What has targets polled for the messages of queues; `wake` has one polled."""
        return Dispatcher(targets=self.targets, wake=wake, snapshot=self.snapshot, metrics=self.metrics)

    def listeners(self, dispatcher: Dispatcher) -> list[QueueListener]:
        """A listener for every configured queue."""
        return [
            QueueListener(self._queue(queue), dispatcher, self.metrics) for queue in self.settings.wake_ups
        ]

    def _queue(self, queue: SqsWakeUps) -> SqsQueue:
        access = AccountAccess(role_arn=queue.role_arn, external_id=queue.read_external_id)
        return SqsQueue(queue.queue_url, lambda: self.sessions.client(access, str(queue.region), queue.type))

    def _listens(self, target: Target) -> bool:
        """Whether the native events of a target arrive at a configured queue."""
        # A target of an organization has the account behind its configured name.
        names = {*target.names, *(name.removesuffix(f"-{target.account_id}") for name in target.names)}
        queues = self.settings.wake_ups
        return any(not queue.targets or not names.isdisjoint(queue.targets) for queue in queues)

    def api(self, target: Target) -> JobsApi:
        """The calls for a target.

        Raises:
            AwsError: No client can be made.
        """
        kind = self._kinds[target.kind]
        return JobsApi(self.sessions.client(self._access(target), target.region, kind.service), kind)

    def _access(self, target: Target) -> AccountAccess:
        """The access of the target whose turn it is: the next one after each failure."""
        accesses = self.targets[target]
        return accesses[self._attempts[target] % len(accesses)]

    def _use_another_access(self, target: Target, error: AwsError) -> None:
        """Let the next poll use another of the target's accesses, if there is one."""
        # A throttled account is as throttled by another role.
        if len(self.targets[target]) > 1 and error.reason is not AwsReason.THROTTLED:
            failed = self._access(target)
            self._attempts[target] += 1
            _log.warning("target.access_failed", target=target.id, error=str(error), **described(failed))

    def poller(
        self,
        *,
        show: Callable[[Observation], None] | None = None,
        bounded: bool = False,
        on_progress: Callable[[Target], None] = lambda _: None,
        listening: bool = False,
    ) -> Poller:
        """Build what polls.

        Args:
            show: Called with every observation instead of writing it: a dry run.
            bounded: Leave to the next poll what does not fit into the interval.
            on_progress: Called whenever the poll of a target has got further.
            listening: Whether this process listens to the configured queues.
        """
        return Poller(
            snapshot=self.snapshot if show is None else DryRun(self.database, show),
            api=self.api,
            kind=lambda target: self._kinds[target.kind],
            settings=self.settings.poll,
            route=self.router,
            metrics=self.metrics,
            gets=self._budget if bounded else unlimited,
            stop=self.stop,
            on_progress=on_progress,
            on_failure=self._use_another_access,
            listens=self._listens if listening else lambda _: False,
        )

    def cadence(self) -> Cadence:
        """How often each target is polled."""
        poll, aws = self.settings.poll, self.settings.aws
        return Cadence(
            self.targets,
            interval=poll.interval,
            idle_interval=poll.idle_interval,
            full_scan_interval=poll.full_scan_interval,
            calls_per_second=aws.requests_per_second * aws.poll_share,
            threads=poll.concurrency,
            metrics=self.metrics,
        )

    def _budget(self, target: Target) -> int:
        return call_budget(
            requests_per_second=self.settings.aws.requests_per_second,
            interval=self.settings.poll.interval or _GETS_OF,
            sharing=self._sharing[self.targets[target][0], target.region],
        )

    def take_over(self) -> None:
        """Show these components in health and metrics from now on."""
        self.heartbeats.patience = self.settings.health.patience.total_seconds()
        self.metrics.unavailable.set(0)
        self._prepare_metrics()

    def close(self, successor: Components | None = None) -> None:
        """Release the clients, and the rest as well if no other configuration goes on with it.

        Args:
            successor: The components that have taken over; the metrics of what they lack are removed.
        """
        self.sessions.close()
        if successor is None:
            self.runtime.close()
            return
        self.metrics.forget(
            _labels(self) - _labels(successor),
            self.settings.sinks.keys() - successor.settings.sinks.keys(),
            _organizations(self) - _organizations(successor),
            _places(self) - _places(successor),
            _queues(self) - _queues(successor),
        )


def _labels(components: Components) -> set[tuple[str, str, str]]:
    """The labels of the targets' series."""
    return {(target.name, target.region, target.kind) for target in components.targets}


def _places(components: Components) -> set[tuple[str, str]]:
    return {target.place for target in components.targets}


def _organizations(components: Components) -> set[str]:
    return {target.name for target in components.settings.targets if target.organization is not None}


def _queues(components: Components) -> set[str]:
    return {queue.queue_url for queue in components.settings.wake_ups}
