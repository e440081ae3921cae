"""What follows from the declared kinds of job, outside the program: tables, and the role's template.

`make docs` writes it, so that adding a kind changes no such file by hand. Each generated part stands between
the lines `kinds` and `end of kinds`, as comments of the file's own language.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from poller.kinds import KINDS
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from poller.kinds import Kind

_PART = re.compile(
    r"^(?P<begin>(?P<indent> *)(?:# kinds|<!-- kinds -->)\n)"
    r".*?^(?P<end> *(?:# end of kinds|<!-- end of kinds -->)$)",
    re.MULTILINE | re.DOTALL,
)
_KIND_OF_EVENT = re.compile(r"^\| `kind` \| string \| never \| .* \|$", re.MULTILINE)


def generated() -> Iterator[tuple[Path, str]]:
    """Every file that follows from the kinds, with what it should hold."""
    events = ROOT / "docs" / "events.md"
    row = f"| `kind` | string | never | {_listed([f'`{name}`' for name in KINDS])}. |"
    yield events, _KIND_OF_EVENT.sub(row, events.read_text())
    simulator = ROOT / "docs" / "simulator.md"
    yield simulator, _filled(simulator, [_operations()])
    role = ROOT / "deploy" / "iam" / "member-role.yaml"
    allowed = f"AllowedValues: [all, {', '.join(KINDS)}]\n"
    ordered = [KINDS[name] for name in sorted(KINDS)]
    conditions, statements = "".join(map(_condition, ordered)), "".join(map(_statements, ordered))
    yield role, _filled(role, [allowed, conditions, statements])


def _filled(path: Path, parts: list[str]) -> str:
    """A file with its generated parts, in their order, indented like the line that begins each."""
    waiting = iter(parts)

    def fill(part: re.Match[str]) -> str:
        lines = next(waiting).splitlines(keepends=True)
        indented = "".join(part["indent"] + line if line.strip() else line for line in lines)
        return f"{part['begin']}{indented}{part['end']}"

    return _PART.sub(fill, path.read_text())


def _listed(names: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _operations() -> str:
    rows = ["| kind | submit | get | list | stop |", "|---|---|---|---|---|"]
    rows += [
        f"| `{kind.name}` | {kind.submit_operation} | {kind.get_operation} | {kind.list_operation}"
        f" | {kind.stop_operation or ''} |"
        for kind in KINDS.values()
    ]
    return "\n" + "\n".join(rows) + "\n\n"


def _reads(kind: Kind) -> str:
    return kind.list_operation.replace("List", "Reads", 1)


def _condition(kind: Kind) -> str:
    return f"{_reads(kind)}: !Or [!Equals [!Ref Kinds, all], !Equals [!Ref Kinds, {kind.name}]]\n"


def _statements(kind: Kind) -> str:
    jobs = f'!Sub "arn:${{AWS::Partition}}:bedrock:*:${{AWS::AccountId}}:{kind.resource}/*"'
    granted = ((kind.list_operation, kind.list_action, '"*"'), (kind.get_operation, kind.get_action, jobs))
    return "".join(
        f"""- !If
  - {_reads(kind)}
  - Sid: {operation}
    Effect: Allow
    Action: ["{action}"]
    Resource: [{resource}]
    Condition: {{StringLike: {{"aws:RequestedRegion": !Ref Regions}}}}
  - !Ref AWS::NoValue
"""
        for operation, action, resource in granted
    )
