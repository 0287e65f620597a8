"""Wheels, and environments that hold them and what they ask for, made in seconds and offline.

A dependency is not installed again: its files are linked from the environment that runs the tests.
Only what is asked for is there, so a requirement that a wheel forgets to name is missing.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]

# What builds read: a copy of these leaves the sources as they are.
_SOURCES = (
    "LICENSE", "LICENSES", "NOTICE", "README.md", "configs", "core", "detector", "maskstream",
    "packaging", "pipeline", "pyproject.toml", "tracker", "workers",
)  # fmt: skip


def copy_sources(folder: Path) -> Path:
    """What a build needs of the repository, links as links."""
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(source, folder / name, symlinks=True, ignore=leave_out)
        else:
            shutil.copy2(source, folder / name)
    return folder


def build_wheel(project: Path, folder: Path) -> Path:
    """Build the wheel of a project folder with the setuptools that is here."""
    _pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", str(folder), str(project))
    (wheel,) = folder.glob("*.whl")
    return wheel


class Environment:
    """A virtual environment.

    Args:
        folder: where to make it.
        packages: distributions to have in it, with all that they require.
    """

    def __init__(self, folder: Path, packages: Iterable[str]) -> None:
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        self.folder = folder
        self.python = folder / "bin" / "python"
        (self.site_packages,) = folder.glob("lib/python*/site-packages")
        for name in sorted(_with_requirements(packages)):
            self._link(metadata.distribution(name))

    def install(self, wheel: Path) -> None:
        """Install a wheel as it is."""
        self._pip("install", "--no-deps", "--no-index", str(wheel))

    def uninstall(self, name: str) -> None:
        self._pip("uninstall", "--yes", name)

    def run(self, *command: str, cwd: Path) -> str:
        """Run one of the environment's programs in a folder; its output. It has to succeed."""
        return _run(str(self.folder / "bin" / command[0]), *command[1:], cwd=cwd)

    def _pip(self, *arguments: str) -> None:
        _pip("--python", str(self.python), *arguments)

    def _link(self, distribution: metadata.Distribution) -> None:
        tops = {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            link = self.site_packages / top
            if not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))))


def requirements(wheel: Path) -> list[str]:
    """The names of what a wheel requires, extras left out."""
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode("utf-8").splitlines()
    found = [Requirement(line[15:]) for line in lines if line.startswith("Requires-Dist: ")]
    return [one.name for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def _with_requirements(packages: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = [Requirement(name) for name in packages]
    while waiting:
        wanted = waiting.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        if name in found and not wanted.extras:
            continue
        found.add(name)
        for line in metadata.distribution(name).requires or []:
            other = Requirement(line)
            extras = ["", *wanted.extras]
            if other.marker is None or any(other.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(other)
    return found


def _pip(*arguments: str) -> None:
    _run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments)


def _run(*command: str, cwd: Path | None = None) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    # Threads that wait for each other on a busy machine take many times as long as one.
    kept["OMP_NUM_THREADS"] = "1"
    done = subprocess.run(
        command, cwd=cwd, env=kept, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, (
        f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    )
    return done.stdout
