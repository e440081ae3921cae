"""Sessions, clients and calls: everything that talks to AWS about jobs."""

from poller.aws.api import Answer, JobsApi, Page
from poller.aws.organizations import Account, accounts_of
from poller.aws.sessions import AccountAccess, Sessions

__all__ = ["Account", "AccountAccess", "Answer", "JobsApi", "Page", "Sessions", "accounts_of"]
