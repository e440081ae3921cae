"""The job kinds: `declarations` has each as data, `kind` what a declaration holds and how an item is read."""

from poller.kinds.declarations import (
    ASYNC_INVOKE,
    DEFAULT_KINDS,
    KINDS,
    MODEL_INVOCATION_JOB,
    kind_of,
    kinds,
)
from poller.kinds.kind import CUT, DEEPEST, Kind, Path, by_records, is_job_id

__all__ = [
    "ASYNC_INVOKE",
    "CUT",
    "DEEPEST",
    "DEFAULT_KINDS",
    "KINDS",
    "MODEL_INVOCATION_JOB",
    "Kind",
    "Path",
    "by_records",
    "is_job_id",
    "kind_of",
    "kinds",
]
