"""Where the program differs from 0.1.0 on purpose, and why. A test fails if a row does not apply any more."""

from __future__ import annotations

_LITERAL = "nothing replaces the variable, so the program worked with the text as it stands"

REFUSED: dict[str, str] = {
    "store with a variable": _LITERAL,
    "webhook to a variable": _LITERAL,
    "header with a variable": _LITERAL,
    "header with a parenthesized variable": _LITERAL,
    "signing key of 16 bytes": "Standard Webhooks asks for a key of at least 24 bytes",
}
"""Configurations that 0.1.0 accepted and this version refuses."""

ACCEPTED: dict[str, str] = {}
"""Configurations that 0.1.0 refused and this version accepts."""

PLACES: dict[str, str] = {}
"""Configurations that both refuse, at other places."""

_AUTO = "the interval follows a budget of calls by default"

SETTINGS: dict[str, str] = {
    f"{name}: poll.interval": _AUTO for name in ("minimal", "work", "watching", "nothing")
}
"""Settings with another value than 0.1.0 read from the same configuration."""

STORE: dict[str, str] = {
    "alembic_version[].version_num": "the migration itself: 0004 to 0006 add columns and tables",
}
"""Columns of the store that the migration changes."""

ANSWERS: dict[str, str] = {}
"""What a command over the store answers otherwise."""

ENDS: dict[str, str] = {}
"""Commands without a store that end otherwise, or name other problems."""

ADDED_TO_ANSWERS: dict[str, str] = {
    "targets list as json: [].account_id": "a target is its account, region and kind",
    "targets show: account_id": "the same",
    "deliveries list: [].error": "the last error saves a look at each delivery",
    "sinks test: data.details": "as in all events",
    "sinks test: data.targets": "as in all events",
    "sinks test: data.native_event_seen": "as in all events",
}
"""Members and columns that the answers of commands have besides."""

PAGES: dict[str, str] = {}
"""What a page of the daemon answers otherwise."""

ADDED_TO_PAGES: dict[str, str] = {}
"""Members that answers of the API have besides."""

ADDED_TO_EVENTS: dict[str, str] = {
    "data.details": "says whether an ended job has the details that only a Get tells",
    "data.targets": "every configured name of the target, not only the first",
    "data.native_event_seen": "says whether Bedrock's own event told of an ending as well",
}
"""Members that events have besides."""

EVENTS: dict[str, str] = {}
"""Events of the same happenings that have another value."""

COMMANDS: dict[str, str] = {
    "watch arguments[]": "takes an id or an end of the ARN as well; an argument's name is never written",
}
"""Commands, arguments and options that are gone or take something else."""

SCHEMAS: dict[str, str] = {
    f"schema.$defs.PollSettings.properties.interval.{part}": _AUTO
    for part in ("default", "examples", "pattern")
} | {
    f"schema.$defs.PollSettings.properties.first_scan.{part}": "a mapping is another choice"
    for part in ("enum", "type")
}
"""Parts of the printed schemas that are not what they were."""

ADDED_TO_SCHEMAS: dict[str, str] = {
    "schema of events.properties.data.required: details": "every event has it",
    "schema of events.properties.data.required: targets": "every event has it",
    "schema of events.properties.data.required: native_event_seen": "every event has it",
}
"""What the schemas newly require."""

POLICIES: dict[str, str] = {}
"""Permissions that are gone from the printed policies, or new in them."""

METRICS: dict[str, str] = {}
"""Metrics that are gone, or have another type or other labels."""

LOG: dict[str, str] = {}
"""Lines of the log that are gone, or lack a key."""
