"""A fixed set of inputs for every parser of what strangers send; `make fuzz` tries others."""

from __future__ import annotations

import pytest

from tests.fuzz.properties import PROPERTIES
from tests.fuzz.run import tried


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", PROPERTIES)
def test_no_input_does_harm(name: str, seed: int) -> None:
    """Each is parsed, or is an error of the declared type (faults 21, 26, 29, 42, 44, 64 and 70)."""
    prop = PROPERTIES[name]
    assert tried(prop, seed=seed, inputs=prop.weight // 2) >= prop.weight // 4


def test_a_property_that_does_not_hold_is_found() -> None:
    """The fuzzer can say no."""
    prop = PROPERTIES["settings"]

    def never(text: str) -> None:
        assert "s" not in text

    with pytest.raises(AssertionError):
        tried(type(prop)(prop.inputs, never), seed=1, inputs=500)
