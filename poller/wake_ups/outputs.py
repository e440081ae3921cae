"""Finds the jobs that an object of S3 may be an output of: open ones, or one that no list has shown yet.

Pure. A job writes below its output location, most often into a folder named after its id. Several jobs share
a location, so the longest prefix decides, and the folder of a job counts as a longer one. Prefixes end at a
slash: `out/1` is not a prefix of `out/10/result`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from poller.kinds import KINDS, is_job_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from poller.model import Target
    from poller.store import OpenOutput
    from poller.wake_ups.messages import AboutObject

_SCHEME = "s3://"
_ID_ALONE = "{id}"
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
"""By how the names of their regions begin; all others are taken for those of `aws`."""


def writers(written: AboutObject, outputs: Iterable[OpenOutput]) -> list[OpenOutput]:
    """Return the jobs whose output location is the longest prefix of an object's key; all that share it.

    Args:
        written: The object.
        outputs: The output locations of open jobs.
    """
    longest = 0
    found: list[OpenOutput] = []
    for output in outputs:
        length = _prefix(written, output)
        if length > longest:
            longest, found = length, []
        if length and length == longest:
            found.append(output)
    return found


def unlisted(written: AboutObject, target: Target) -> str | None:
    """Return the ARN that a target's job has if a folder of an object's key is named after its id.

    A short job may write its output before any list has shown it. Kinds with native events need no guess.

    Args:
        written: The object.
        target: What is polled.
    """
    kind = KINDS[target.kind]
    account = target.account_id or written.account_id
    folders = written.key.split("/")[:-1]
    # Twelve digits are an account, in the folders of other services.
    found = next((each for each in reversed(folders) if is_job_id(each) and not each.isdigit()), None)
    elsewhere = target.region != written.region or written.account_id not in {None, account}
    if kind.native_events or kind.identifier != _ID_ALONE or found is None or account is None or elsewhere:
        return None
    start = next((each for each in _PARTITIONS if target.region.startswith(each)), "")
    partition = _PARTITIONS.get(start, "aws")
    return kind.make_arn(found, account=account, region=target.region, partition=partition)


def _prefix(written: AboutObject, output: OpenOutput) -> int:
    """How much of an object's address is a job's output location, in characters; 0 if it lies elsewhere."""
    address = f"{_SCHEME}{written.bucket}/{written.key}"
    location = output.uri.rstrip("/")
    if not location.startswith(_SCHEME) or not _is_below(address, location):
        return 0
    folder = f"{location}/{output.arn.rpartition('/')[2]}"
    return len(folder) if _is_below(address, folder) else len(location)


def _is_below(address: str, location: str) -> bool:
    return address == location or address.startswith(f"{location}/")
