"""The project file says what the folders hold, and no file has two names."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "maskstream"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
FOLDERS = ("configs", "core", "detector", "pipeline", "tracker", "workers")


def test_the_package_holds_a_link_to_each_folder() -> None:
    links = {
        path.name: path.readlink().as_posix() for path in PACKAGE.iterdir() if path.is_symlink()
    }
    assert links == {name: f"../{name}" for name in FOLDERS}


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_every_data_file_is_packaged() -> None:
    patterns: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_dir() or path.suffix in {".py", ".pyc", ".md"}:
                continue
            name = path.relative_to(ROOT / folder).as_posix()
            known = patterns.get(f"maskstream.{folder}", [])
            assert any(fnmatch(name, pattern) for pattern in known), path


def test_types_are_checked_everywhere() -> None:
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert PROJECT["tool"]["mypy"]["packages"] == ["maskstream", "benchmarks", "training"]


def test_imports_by_the_name_of_a_folder_are_banned() -> None:
    banned = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]
    assert set(banned) == set(FOLDERS)


def test_ci_pins_everything_that_the_project_asks_for() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    project = PROJECT["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.split(r"[^\w-]", line)[0].lower().replace("_", "-") for line in asked}
    assert names - {"maskstream"} <= pins.keys()


def test_architecture_has_a_line_for_every_file() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    listing = text[text.index("## Every file") : text.index("## Decisions")]
    rooms = re.split(r"\*\*`([a-z_/]+)/`\*\*", listing)[1:]
    listed = {
        f"{room}/{name}"
        for room, lines in zip(rooms[::2], rooms[1::2], strict=True)
        for name in re.findall(r"^- `(\w+\.py)`: \S", lines, re.MULTILINE)
    }
    found = {
        path.relative_to(ROOT).as_posix()
        for folder in ("pipeline", "tracker", "workers")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed == found


def test_long_files_of_the_pipeline_say_why() -> None:
    for path in (ROOT / "pipeline").rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, path
