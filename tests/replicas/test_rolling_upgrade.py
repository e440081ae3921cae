"""Two versions side by side: the schema is the next one's already, and the old one has not ended yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from poller.store import Database
from tests.harness.daemon import eventually

if TYPE_CHECKING:
    from poller.simulator import Simulator
    from tests.replicas.conftest import Scene

EXPAND = """
ALTER TABLE targets ADD COLUMN later_version double precision;
ALTER TABLE jobs ADD COLUMN later_version text NOT NULL DEFAULT 'as before';
ALTER TABLE events ADD COLUMN later_version text;
ALTER TABLE deliveries ADD COLUMN later_version bigint NOT NULL DEFAULT 0;
CREATE TABLE later_version (id bigint PRIMARY KEY);
CREATE INDEX later_version_jobs ON jobs (later_version);
UPDATE alembic_version SET version_num = '9999';
"""
"""All that a revision may do: it adds, and what it adds has a default."""


def migrate(url: str) -> None:
    """Change the schema as every migration does: in one transaction, which is run again after a deadlock."""
    database = Database(url)
    database.write(lambda connection: connection.exec_driver_sql(EXPAND))
    database.close()


@pytest.mark.slow
@pytest.mark.long
def test_those_that_run_go_on_when_the_schema_grows(scene: Scene, simulator: Simulator) -> None:
    """A migration that only adds disturbs no replica of the version before, in the middle of its work.

    Injects fault 41.
    """
    old = [scene.start()[0] for _ in range(2)]
    scene.baselined()
    arn = simulator.submit_batch(script=[("Submitted", 0)])
    eventually(lambda: len(scene.told()) == 1)
    migrate(scene.url)
    simulator.force(arn, "InProgress")
    eventually(lambda: len(scene.told()) == 2)
    old[0].kill()
    simulator.force(arn, "Completed")
    eventually(lambda: "Completed" in {status for _, status in scene.told()})
    # The one that was killed may have sent something that the other one sent again.
    statuses = [status for _, status in scene.told()]
    assert list(dict.fromkeys(statuses)) == ["Submitted", "InProgress", "Completed"]
    assert [line for replica in old for line in replica.log("poll.failed")] == []
    late, _ = scene.start()
    assert late.process.wait(20) == 1
    assert "9999" in late.errors
    assert "newer version" in late.errors
