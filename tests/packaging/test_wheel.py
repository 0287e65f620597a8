"""What is in the wheel of maskstream."""

from __future__ import annotations

from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.packaging.environments import ROOT

FOLDERS = ("configs", "core", "detector", "pipeline", "tracker", "workers")


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode("utf-8"))


def test_it_puts_one_name_into_site_packages(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"maskstream"}


def test_it_holds_every_source_file(names: set[str]) -> None:
    own = ("__init__.py", "__main__.py", "as_sam3.py", "py.typed")
    expected = {f"maskstream/{name}" for name in own}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".md"):
                expected.add(f"maskstream/{path.relative_to(ROOT).as_posix()}")
    packed = {name for name in names if name.startswith("maskstream/") and name[-3:] != ".md"}
    assert packed == expected


def test_it_says_under_which_licence_it_comes(names: set[str], metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    texts = ("DejaVu", "OFL-1.1", "Unicode-3.0")
    files = {"LICENSE", "NOTICE", *(f"LICENSES/{name}.txt" for name in texts)}
    assert set(metadata.get_all("License-File", [])) == files
    packed = {name.partition("/licenses/")[2] for name in names if ".dist-info/licenses/" in name}
    assert packed == files


def test_torch_is_a_range(metadata: Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    assert [line for line in required if line.startswith("torch")] == ["torch>=2.6"]
