"""Fetches the next page of a listing while the present one is worked on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from poller.aws import Page


def prefetch(pages: Iterator[Page]) -> Iterator[Page]:
    """Yield the same pages; one more is being fetched meanwhile, in a thread, and never two.

    A listing of a single page, the usual case, needs no thread. Whatever the fetch raises is raised in its
    turn, after the pages before it.
    """
    page = next(pages, None)
    if page is None or page.token is None:
        if page is not None:
            yield page
        return
    with ThreadPoolExecutor(1, thread_name_prefix="fetch") as thread:
        while page is not None:
            following = thread.submit(next, pages, None)
            yield page
            page = following.result()
