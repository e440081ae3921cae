"""Every command takes any bytes and any number for a value, and says in a line what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from poller.cli.program import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Shell

NONSENSE = ("\udcff", "", "9" * 5000, str(2**63), "x" * 100_000)
SERVERS = {"run", "demo", "simulate"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, and the words that name it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, command
        return
    for name, each in inner.items():
        yield from leaves(each, (*path, name))


def takes_a_value(parameter: Any) -> bool:
    """Whether a parameter is followed by a text of the caller's."""
    return parameter.param_type_name == "argument" or not getattr(parameter, "is_flag", False)


def calls() -> Iterator[tuple[str, ...]]:
    """A call of each command for each of its values, with `{}` in the place of the value."""
    for path, command in leaves(program):
        if path[0] in SERVERS:
            continue
        needed = [
            each.name for each in command.params if each.param_type_name == "argument" and each.required
        ]
        for parameter in filter(takes_a_value, command.params):
            if parameter.param_type_name == "argument":
                others = ["x"] * (len(needed) - (parameter.name in needed))
                yield (*path, "--", "{}", *others)
            elif parameter.name != "help":
                yield (*path, parameter.opts[0], "{}", *("x" for _ in needed))


@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: ascii(value[:8]))
def test_nonsense_is_answered_with_a_line(shell: Shell, value: str) -> None:
    """No value of any argument or option of any command ends in a traceback (fault 86)."""
    assert shell("migrate").code == 0
    for call in calls():
        done = shell(*(value if word == "{}" else word for word in call))
        assert done.code in {0, 1, 2}
        assert "Traceback" not in done.err, (call, done.err[-2000:])
