"""The documents say what is so: commands parse, code compiles, what is pointed at is there."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import pytest

import maskstream
from maskstream.pipeline.api.options import SessionOptions
from maskstream.pipeline.api.requests import Request
from maskstream.pipeline.cli.main import _parser

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    *ROOT.glob("*.md"),
    *(path for folder in ("benchmarks", "examples", "packaging", "training")
      for path in (ROOT / folder).rglob("*.md")),
]  # fmt: skip
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").partition(" #")[0]
    for language, body in BLOCKS
    if language in ("bash", "console")
    for line in body.splitlines()
    if line.startswith(("maskstream ", "$ maskstream "))
]
PYTHON = [body for language, body in BLOCKS if language == "python"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    options = _parser().parse_args(shlex.split(command)[1:])
    assert options.command == shlex.split(command)[1]


def test_there_are_commands_of_every_kind() -> None:
    shown = {shlex.split(command)[1] for command in COMMANDS}
    assert {"segment", "serve", "stream", "sessions", "prompt", "results", "doctor"} <= shown


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_compiles_and_imports_what_there_is(number: int) -> None:
    for node in ast.walk(ast.parse(PYTHON[number])):
        if isinstance(node, ast.ImportFrom) and node.module == "maskstream":
            for name in node.names:
                assert hasattr(maskstream, name.name)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_pointed_at_is_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    missing = [
        link for link in links if "://" not in link and not (document.parent / link).exists()
    ]
    assert not missing
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", make, re.MULTILINE), target
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").is_file(), module


def test_the_tour_names_every_folder_with_code() -> None:
    tour = TEXT[TEXT.index("## A tour") :]
    folders = {path.parent.name for path in ROOT.glob("[a-z]*/*.py")} - {"maskstream", "tests"}
    assert folders <= set(re.findall(r"^\| `(\w+)/`", tour, re.MULTILINE))


def test_this_version_is_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"## {project['version']}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("model", get_args(Request), ids=lambda model: model.__name__)
def test_every_request_and_field_is_in_the_table(model: type[Request]) -> None:
    kind = get_args(model.model_fields["type"].annotation)[0]
    (row,) = [line for line in TEXT.splitlines() if re.match(rf"\| .*`{kind}`", line)]
    tuning = {
        "type", "offload_video_to_cpu", "offload_state_to_cpu", "run_gc_collect",
        "clear_cache_threshold", "is_user_action",
    }  # fmt: skip
    options = set(SessionOptions.model_fields)
    for name in model.model_fields.keys() - tuning - options:
        if (kind, name) != ("remove_object", "frame_index"):
            assert f"`{name}`" in row, name


@pytest.mark.parametrize("name", sorted(SessionOptions.model_fields))
def test_every_option_is_named(name: str) -> None:
    options = TEXT[TEXT.index("Options of `start_session`") :]
    assert f"`{name}`" in options[: options.index("\n\n")]
