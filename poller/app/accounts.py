"""Learns which account each access leads to, so that a target is its account, region and kind.

A role names its account. For other credentials STS is asked, once. Where STS does not answer, because it
cannot be reached or because requests carry a bearer token, the ARNs of the listed jobs tell. Until then the
account is unknown: such a target is polled under its name, and records no job before its account is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller import logs
from poller.aws import JobsApi
from poller.errors import AwsError
from poller.kinds import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from poller.aws import AccountAccess, Sessions
    from poller.model import Target

_log = logs.get(__name__)


class AccountIds:
    """The account of each access, as far as it is known.

    Args:
        known: What was learned before, by the same credentials.
    """

    def __init__(self, known: Mapping[AccountAccess, str] | None = None) -> None:
        self._known = dict(known or {})

    @property
    def known(self) -> Mapping[AccountAccess, str]:
        """What is known so far."""
        return dict(self._known)

    def of(self, access: AccountAccess) -> str | None:
        """The account behind an access; `None` while it is unknown."""
        return access.role_account or self._known.get(access)

    def learn(self, access: AccountAccess, account_id: str) -> bool:
        """Take note of what a listing showed; returns whether that is news."""
        news = self.of(access) is None
        if news:
            self._known[access] = account_id
            _log.info("account.learned", account_id=account_id, **described(access))
        return news

    def resolve(
        self, sessions: Sessions, targets: Iterable[tuple[Target, AccountAccess]], before: Mapping[str, str]
    ) -> None:
        """Find every account that is unknown.

        Args:
            sessions: Make the calls.
            targets: What is to be polled, and how each is reached.
            before: The accounts that the targets' names led to at an earlier start.
        """
        for access, reached in _by_access(targets).items():
            if self.of(access) is not None:
                continue
            found = _by_sts(sessions, access) or _by_listing(sessions, access, reached[0])
            if found is None:
                remembered = {before[target.name] for target in reached if target.name in before}
                found = remembered.pop() if len(remembered) == 1 else None
            if found is None:
                names = sorted({target.name for target in reached})
                _log.warning(
                    "account.unknown",
                    targets=names,
                    remedy="allow this host to reach STS, or set role_arn; it is learned from the first job"
                    " that is listed",
                )
            else:
                self._known[access] = found


def _by_access(targets: Iterable[tuple[Target, AccountAccess]]) -> dict[AccountAccess, list[Target]]:
    found: dict[AccountAccess, list[Target]] = {}
    for target, access in targets:
        found.setdefault(access, []).append(target)
    return found


def _by_sts(sessions: Sessions, access: AccountAccess) -> str | None:
    try:
        return sessions.account(access)
    except AwsError as error:
        _log.warning("account.sts_failed", error=str(error), reason=error.reason, **described(access))
        return None


def _by_listing(sessions: Sessions, access: AccountAccess, target: Target) -> str | None:
    """The account whose jobs are listed; one page is looked at, and nothing is recorded."""
    kind = KINDS[target.kind]
    try:
        api = JobsApi(sessions.client(access, target.region, kind.service), kind)
        page = next(api.pages(None), None)
    except AwsError as error:
        _log.warning("account.listing_failed", error=str(error), reason=error.reason, **described(access))
        return None
    return None if page is None else kind.account_in(page.items)


def described(access: AccountAccess) -> dict[str, str]:
    """An access, for a line of the log."""
    given = {"profile": access.profile, "role_arn": access.role_arn}
    return {name: value for name, value in given.items() if value is not None} or {"credentials": "default"}
