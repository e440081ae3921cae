"""A witness in the database: triggers that note who claims what, who gives back, and who writes.

Every run of a replica connects under a name of its own, and the triggers believe that name and the rows
before them, not the program's words. A write counts as stale if, at the moment when it is made, the last one
who claimed the target or the delivery is somebody else; the row of the target is locked meanwhile, so that
nobody can claim it between that look and the commit. A claim counts as robbed if the lease of another one had
not ended. What is rolled back is not noted, because it has not happened.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from tests.chaos.oracle import Copy
    from tests.chaos.replica import Stop

CLAIMED, ROBBED, GAVE_BACK, STALE = "claimed", "robbed", "gave back", "stale"

_SETUP = """
CREATE SCHEMA witness;
CREATE TABLE witness.holders (what text PRIMARY KEY, who text NOT NULL);
CREATE TABLE witness.deeds (
    seq bigserial PRIMARY KEY, at float8 NOT NULL, who text NOT NULL, did text NOT NULL, what text NOT NULL,
    until float8
);

CREATE FUNCTION witness.note(did text, what text, until float8) RETURNS void LANGUAGE sql AS $$
    INSERT INTO witness.deeds (at, who, did, what, until)
    VALUES (extract(epoch FROM clock_timestamp()), current_setting('application_name'), did, what, until)
$$;

CREATE FUNCTION witness.is_claimed(what text, before float8, until float8) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM witness.note(
        CASE WHEN before > extract(epoch FROM clock_timestamp()) THEN 'robbed' ELSE 'claimed' END, what, until
    );
    INSERT INTO witness.holders VALUES (what, current_setting('application_name'))
    ON CONFLICT ON CONSTRAINT holders_pkey DO UPDATE SET who = excluded.who;
END $$;

CREATE FUNCTION witness.is_written(thing text, how text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM witness.holders WHERE what = thing AND who <> current_setting('application_name')
    ) THEN
        PERFORM witness.note('stale', thing || ' ' || how, NULL);
        RETURN false;
    END IF;
    RETURN true;
END $$;

CREATE FUNCTION witness.target() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.epoch <> OLD.epoch THEN
        PERFORM witness.is_claimed('target ' || NEW.id, OLD.lease_until, NEW.lease_until);
    -- A name is a label: any replica that starts may write it.
    ELSIF (NEW.lease_owner, NEW.lease_until, NEW.baselined, NEW.high_water, NEW.full_scan_at, NEW.polled_at)
        IS NOT DISTINCT FROM
        (OLD.lease_owner, OLD.lease_until, OLD.baselined, OLD.high_water, OLD.full_scan_at, OLD.polled_at)
    THEN
        RETURN NULL;
    ELSIF witness.is_written('target ' || NEW.id, 'lease') AND NEW.lease_until IS NULL THEN
        PERFORM witness.note('gave back', 'target ' || NEW.id, NULL);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION witness.job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM targets WHERE id = NEW.target_id FOR SHARE;
    PERFORM witness.is_written('target ' || NEW.target_id, NEW.arn || ' ' || NEW.status);
    RETURN NULL;
END $$;

CREATE FUNCTION witness.event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    watched text;
BEGIN
    SELECT target_id INTO watched FROM jobs WHERE arn = NEW.job_arn;
    PERFORM FROM targets WHERE id = watched FOR SHARE;
    PERFORM witness.is_written('target ' || watched, 'event ' || NEW.id);
    RETURN NULL;
END $$;

CREATE FUNCTION witness.delivery() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    what text := 'delivery ' || NEW.sink || ' ' || NEW.event_id;
BEGIN
    IF NEW.epoch <> OLD.epoch AND NEW.lease_until IS NOT NULL THEN
        PERFORM witness.is_claimed(what, OLD.lease_until, NEW.lease_until);
    ELSIF (NEW.state, NEW.attempts, NEW.lease_until, NEW.epoch)
        IS DISTINCT FROM (OLD.state, OLD.attempts, OLD.lease_until, OLD.epoch) THEN
        PERFORM witness.is_written(what, NEW.state);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER witness AFTER UPDATE ON targets FOR EACH ROW EXECUTE FUNCTION witness.target();
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION witness.job();
CREATE TRIGGER witness AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION witness.event();
CREATE TRIGGER witness AFTER UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION witness.delivery();
"""

_DEEDS = "SELECT at, who, did, what, until FROM witness.deeds ORDER BY seq"

_UNSOUND = """
SELECT 'the marks of the oldest deliveries' WHERE EXISTS (
    SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY sink, job_arn
    EXCEPT SELECT id FROM deliveries WHERE state = 'pending' AND head
) OR EXISTS (
    SELECT id FROM deliveries WHERE state = 'pending' AND head
    EXCEPT SELECT min(id) FROM deliveries WHERE state = 'pending' GROUP BY sink, job_arn
)
UNION ALL
SELECT 'the counts of jobs' WHERE EXISTS (
    SELECT account_id, region, kind, status, count(*) FROM jobs WHERE NOT gone GROUP BY 1, 2, 3, 4
    EXCEPT SELECT account_id, region, kind, status, jobs FROM job_counts
)
"""
"""What disagrees with what it is kept for."""


class Deed(NamedTuple):
    """What somebody did to a target or a delivery."""

    at: float
    who: str
    did: str
    what: str
    until: float | None = None


class Witness:
    """What the database saw.

    Args:
        ask: Runs a statement in it, and returns the rows.
    """

    def __init__(self, ask: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self._ask = ask

    def install(self) -> None:
        """Begin to watch; the tables are there."""
        self._ask(_SETUP)

    def deeds(self) -> list[Deed]:
        """Everything so far, in order."""
        return [Deed(*row) for row in self._ask(_DEEDS)]

    def unsound(self) -> list[str]:
        """What the store keeps and does not agree with the rest of it."""
        return [str(row[0]) for row in self._ask(_UNSOUND)]


def takeovers(deeds: Iterable[Deed], stops: Iterable[Stop]) -> list[float]:
    """Seconds from each stop until each target that was held then was claimed again; `inf` for never.

    A target that the stopped replica gave back itself, because it went on in time, is not among them.
    """
    by_target: dict[str, list[Deed]] = defaultdict(list)
    for deed in deeds:
        if deed.what.startswith("target ") and deed.did != STALE:
            by_target[deed.what].append(deed)
    waits = []
    for told in by_target.values():
        times = [deed.at for deed in told]
        for stop in stops:
            place = bisect_left(times, stop.at)
            before = told[place - 1] if place else None
            if before is None or before.who != stop.who or before.did == GAVE_BACK:
                continue
            after = told[place] if place < len(told) else None
            if after is None:
                waits.append(float("inf"))
            elif after.did != GAVE_BACK:
                waits.append(after.at - stop.at)
    return sorted(waits)


def late_sends(deeds: Iterable[Deed], copies: Sequence[Copy], stops: Iterable[Stop]) -> list[str]:
    """Arrivals from a replica whose claim had run out, and that had not been asleep in between."""
    claims: dict[tuple[str, str], list[Deed]] = defaultdict(list)
    for deed in deeds:
        if deed.did in {CLAIMED, ROBBED}:
            claims[deed.who, deed.what].append(deed)
    asleep: dict[str, list[Stop]] = defaultdict(list)
    for stop in stops:
        asleep[stop.who].append(stop)
    found = []
    for copy in copies:
        held = [deed for deed in claims[copy.sender, f"delivery {copy.sink} {copy.id}"] if deed.at <= copy.at]
        if not copy.sender or (held and copy.at <= (held[-1].until or 0)):
            continue
        since = held[-1].at if held else 0.0
        if any(stop.at <= copy.at and stop.until >= since for stop in asleep[copy.sender]):
            continue
        why = f"{copy.at - (held[-1].until or 0):.2f} s after its claim" if held else "without a claim"
        found.append(f"{copy.sender} sent {copy.id} to {copy.sink} {why}")
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so large a share of sorted ones does not exceed; 0 for none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0
