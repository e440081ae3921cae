"""Reads a CloudFormation template as CloudFormation does, as far as the role's template needs it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parents[2] / "deploy" / "iam"
_NOTHING = object()


class _Loader(yaml.SafeLoader):
    """Takes `!Ref x` as `{"Ref": "x"}`, and the other functions likewise."""


def _function(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    assert isinstance(node, yaml.SequenceNode)
    return {name: loader.construct_sequence(node, deep=True)}


_Loader.add_multi_constructor("!", _function)


def template() -> dict[str, Any]:
    """The template of the role."""
    text = (FOLDER / "member-role.yaml").read_text()
    found: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    return found


def deployed(parameters: dict[str, str], *, account: str, partition: str = "aws") -> dict[str, Any]:
    """The properties of the role, if the template is deployed with these parameters.

    Raises:
        ValueError: CloudFormation would refuse a parameter.
    """
    whole = template()
    values: dict[str, Any] = {
        "AWS::AccountId": account,
        "AWS::Partition": partition,
        "AWS::NoValue": _NOTHING,
    }
    assert parameters.keys() <= whole["Parameters"].keys()
    for name, declared in whole["Parameters"].items():
        value = parameters.get(name, declared.get("Default"))
        if value is None or not re.fullmatch(declared.get("AllowedPattern", ".*"), value):
            raise ValueError(name)
        if value not in declared.get("AllowedValues", [value]):
            raise ValueError(name)
        values[name] = value.split(",") if declared["Type"] == "CommaDelimitedList" else value
    found: dict[str, Any] = _evaluate(whole["Resources"]["Role"]["Properties"], values, whole["Conditions"])
    return found


def _evaluate(node: Any, values: dict[str, Any], conditions: dict[str, Any]) -> Any:
    def inner(child: Any) -> Any:
        return _evaluate(child, values, conditions)

    if isinstance(node, list):
        return [found for each in node if (found := inner(each)) is not _NOTHING]
    if not isinstance(node, dict):
        return node
    name, argument = next(iter(node.items()))
    functions: dict[str, Callable[[], Any]] = {
        "Ref": lambda: values[argument],
        "Fn::Sub": lambda: re.sub(r"\$\{([^}]+)\}", lambda match: str(values[match[1]]), argument),
        "Fn::Equals": lambda: inner(argument[0]) == inner(argument[1]),
        "Fn::Not": lambda: not inner(argument[0]),
        "Fn::Or": lambda: any(map(inner, argument)),
        "Fn::If": lambda: inner(argument[1 if inner(conditions[argument[0]]) else 2]),
    }
    if name in functions:
        return functions[name]()
    assert not name.startswith("Fn::"), name
    return {key: found for key, child in node.items() if (found := inner(child)) is not _NOTHING}
