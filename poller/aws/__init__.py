"""Sessions, clients and calls: everything that talks to AWS about jobs."""

from poller.aws.api import JobsApi, Page
from poller.aws.sessions import Access, Sessions

__all__ = ["Access", "JobsApi", "Page", "Sessions"]
