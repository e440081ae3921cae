"""The configurations, events and links in the documentation are right."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING

import jsonschema
import pytest
import yaml

from poller.app import load_settings
from poller.app.configuration import settings_model
from poller.events import schema
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, links, prose

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTIONS = frozenset(settings_model().model_fields)
MAX_README_LINES = 200
SECRET = "whsec_c2VjcmV0IHRoYXQgaXMgbG9uZyBlbm91Z2g=\n"
# What that page shows are values of the Helm chart; tests/deploy/test_chart.py tries them.
CONFIGURATIONS = [block for block in blocks("yaml") if block.page.name != "kubernetes.md"]


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_configurations_are_accepted(block: Block, tmp_path: Path) -> None:
    """Every YAML block is a configuration that the program takes, also with its secrets uncommented."""
    path = tmp_path / "config.yaml"
    text = block.text.replace("/run/secrets/", f"{tmp_path}/")
    for name in re.findall(r"/run/secrets/([\w-]+)", block.text):
        (tmp_path / name).write_text(SECRET)
    path.write_text(text)
    assert yaml.safe_load(text).keys() <= SECTIONS
    environ: Mapping[str, str] = {"STATE_DIRECTORY": str(tmp_path)}
    load_settings(path, environ)
    secret = tmp_path / "webhook-secret"
    secret.write_text(SECRET)
    path.write_text(text.replace("# secret_file: webhook-secret", f"secret_file: {secret}"))
    load_settings(path, environ)


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_events_fit_the_schema(block: Block) -> None:
    """Every JSON block that is an event is one by the program's own schema."""
    document = json.loads(block.text)
    if "specversion" in document:
        jsonschema.validate(document, schema(), format_checker=jsonschema.FormatChecker())
        assert document["subject"] == document["data"]["job_arn"]


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_is_toml(block: Block) -> None:
    """Every TOML block can be parsed."""
    assert tomllib.loads(block.text)


def test_blocks_have_a_language() -> None:
    """Every fenced block says what it is, and each language is one that is tested or plain text."""
    tested = {"bash", "go", "javascript", "json", "python", "text", "toml", "yaml"}
    fences = [
        line for page in PAGES for line in page.read_text().splitlines() if line.strip().startswith("```")
    ]
    opened = fences[::2]
    assert {line.strip().removeprefix("```") for line in opened} <= tested
    assert len(blocks(*tested)) == len(opened)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link within the repository leads to a file, and its anchor to a heading."""
    for target in links(page):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(linked), target


def test_readme_links_to_every_page() -> None:
    """Every page of the documentation can be reached from the README."""
    targets = {target.partition("#")[0] for target in links(ROOT / "README.md")}
    assert {str(page.relative_to(ROOT)) for page in PAGES if page.name != "README.md"} <= targets


def test_readme_is_short() -> None:
    """The README stays short, and its first screen has the two commands."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= MAX_README_LINES
    first_screen = "\n".join(lines[:30])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_wrapped(page: Path) -> None:
    """Prose is wrapped, so that a change shows as the lines that it changes."""
    for line in prose(page).splitlines():
        assert len(line) <= 110 or line.startswith("|"), line
