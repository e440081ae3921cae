"""Targets that watch the same jobs, as far as the configuration tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from poller.app.overlaps import overlaps
from tests.app.test_targets import settings_of
from tests.chaos.roles import role_of

if TYPE_CHECKING:
    from pathlib import Path

ONE = role_of("111111111111")


@pytest.mark.parametrize(
    ("second", "where"),
    [
        ({"role_arn": ONE + "-2", "regions": ["us-east-1"]}, "async_invoke in us-east-1 of account"),
        ({"role_arn": ONE + "-2", "regions": "auto"}, "async_invoke in us-east-1, eu-west-1 of account"),
        ({"role_arn": ONE + "-2", "regions": ["ap-south-1"]}, None),
        ({"role_arn": ONE + "-2", "kinds": ["model_invocation_job"], "regions": ["us-east-1"]}, None),
        ({"role_arn": role_of("222222222222"), "regions": ["us-east-1"]}, None),
        ({"regions": ["us-east-1"]}, None),
    ],
)
def test_two_roles_of_one_account_that_share_a_region_and_a_kind(
    tmp_path: Path, second: dict[str, Any], where: str | None
) -> None:
    """It is a warning that names both, what they share, and the remedy (fault 49)."""
    first = {"name": "first", "role_arn": ONE, "regions": ["us-east-1", "eu-west-1"]}
    found = list(overlaps(settings_of(tmp_path, first, {"name": "second", **second})))
    if where is None:
        assert found == []
        return
    (overlap,) = found
    assert str(overlap).startswith(f"targets first and second both watch {where} 111111111111; ")
    assert "remove one" in overlap.details["remedy"]


@pytest.mark.parametrize("regions", [(), "auto"])
def test_regions_that_are_not_named_are_compared_too(tmp_path: Path, regions: Any) -> None:
    """The current region with itself, and all regions with all, or with the current one."""
    named = {"regions": regions} if regions else {}
    targets = [{"name": name, "role_arn": f"{ONE}-{name}", **named} for name in ("a", "b")]
    (overlap,) = overlaps(settings_of(tmp_path, *targets))
    assert ("every region" if regions else "the current region") in overlap.what
    third = {"name": "c", "role_arn": f"{ONE}-c", **({} if regions else {"regions": "auto"})}
    assert "the current region" in next(overlaps(settings_of(tmp_path, targets[0], third))).what
