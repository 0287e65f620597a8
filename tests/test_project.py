"""The project file says what the folders hold."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["setuptools"]["packages"]
ROOTS = sorted({name.split(".")[0] for name in PACKAGES})


def test_every_package_is_listed() -> None:
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for root in ROOTS
        for path in (ROOT / root).rglob("*.py")
    }
    assert found == set(PACKAGES)
    assert all((ROOT / name.replace(".", "/") / "__init__.py").is_file() for name in PACKAGES)


def is_shown_in_readme(path: Path) -> bool:
    """Whether it is a picture of the README beside it, which is not packaged either."""
    readme = path.parent / "README.md"
    is_picture = path.suffix == ".png" and readme.is_file()
    return is_picture and f"]({path.name})" in readme.read_text(encoding="utf-8")


def test_every_data_file_is_packaged() -> None:
    patterns: dict[str, list[str]] = PROJECT["tool"]["setuptools"]["package-data"]
    for root in ROOTS:
        for path in (ROOT / root).rglob("*"):
            name = path.relative_to(ROOT / root).as_posix()
            is_result = name.startswith("results/")  # what benchmarks write, which git ignores
            if path.is_dir() or path.suffix in {".py", ".pyc", ".md"} or is_result:
                continue
            if is_shown_in_readme(path):
                continue
            assert any(fnmatch(name, pattern) for pattern in patterns.get(root, [])), path


def test_types_are_checked_everywhere() -> None:
    assert PROJECT["tool"]["mypy"]["strict"] is True
    assert PROJECT["tool"]["mypy"]["packages"] == ROOTS
