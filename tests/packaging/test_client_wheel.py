"""maskstream-client: what it holds, that it works with what it requires, and beside maskstream."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from maskstream.pipeline.sinks.fonts import BUNDLED
from maskstream.pipeline.store import open_store
from tests.packaging.environments import Environment, requirements
from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.scripted import serving

PROGRAM = Path(__file__).parents[1] / "pipeline" / "client" / "client_program.py"
PLACE = "import maskstream; print(maskstream.__file__)"


@pytest.fixture(scope="module")
def client_only(client_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and what it requires, which is neither torch nor Ray."""
    environment = Environment(tmp_path_factory.mktemp("client"), requirements(client_wheel))
    environment.install(client_wheel)
    return environment


def test_it_holds_what_a_client_needs_in_a_folder_of_its_own(client_wheel: Path) -> None:
    with ZipFile(client_wheel) as archive:
        names = set(archive.namelist())
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"maskstream_client", "maskstream_client.pth"}
    inside = {name.removeprefix("maskstream_client/maskstream/") for name in names}
    assert {"__init__.py", "py.typed", "core/rle.py", "pipeline/client/client.py"} <= inside
    assert {f"pipeline/assets/{font}" for font in BUNDLED} <= inside
    assert any(name.endswith("licenses/LICENSES/OFL-1.1.txt") for name in names)
    rooms = {"/".join(name.split("/")[:2]) for name in inside if name.startswith("pipeline/")}
    for needless in ("cli", "local", "runtime", "session", "video"):
        assert f"pipeline/{needless}" not in rooms
    assert not [n for n in inside if n.startswith(("configs", "detector", "tracker", "workers"))]


def test_it_requires_neither_torch_nor_ray_nor_ffmpeg(client_only: Environment) -> None:
    for name in ("torch", "ray", "av"):
        with pytest.raises(AssertionError, match=f"No module named '{name}'"):
            client_only.run("python", "-c", f"import {name}", cwd=client_only.folder)


def test_a_client_talks_to_a_store(client_only: Environment, tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 4)
    store = open_store()
    assert store.url is not None
    try:
        with serving(store):
            told = client_only.run(
                "python",
                str(PROGRAM),
                store.url,
                "maskstream",
                str(clip),
                "red circle",
                cwd=tmp_path,
            )
    finally:
        store.close()
    prompted, *answers = [json.loads(line) for line in told.splitlines()]
    assert prompted["ids"] == [0]
    assert [answer["frame_index"] for answer in answers] == [0, 1, 2, 3]
    assert all(answer["labels"] == ["red circle"] for answer in answers)


def test_it_says_what_it_does_not_hold(client_only: Environment) -> None:
    with pytest.raises(AssertionError, match="VideoSegmenter is not in maskstream-client"):
        client_only.run(
            "python", "-c", "from maskstream import VideoSegmenter", cwd=client_only.folder
        )


def test_sinks_work_with_the_extra(client_wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path / "sinks", [*requirements(client_wheel), "av"])
    environment.install(client_wheel)
    code = (
        "from maskstream.pipeline.sinks import JsonlSink, OverlaySink, write_coco\n"
        "from maskstream.pipeline.sinks.fonts import font_runs\n"
        "assert [run.text for run in font_runs('0 足球', 20)] == ['0 ', '足球']\n"
        "from maskstream import Frame, FrameResult\n"
        "import sys; assert not {'torch', 'ray'} & set(sys.modules)"
    )
    environment.run("python", "-c", code, cwd=tmp_path)


@pytest.mark.parametrize("first", ["maskstream", "maskstream-client"])
def test_both_can_be_installed_and_either_uninstalled(
    wheel: Path, client_wheel: Path, tmp_path: Path, first: str
) -> None:
    environment = Environment(tmp_path / "both", requirements(client_wheel))
    wheels = {"maskstream": wheel, "maskstream-client": client_wheel}
    order = sorted(wheels, key=lambda name: name != first)
    for name in order:
        environment.install(wheels[name])
    homes = {
        "maskstream": environment.site_packages / "maskstream",
        "maskstream-client": environment.site_packages / "maskstream_client" / "maskstream",
    }

    def place() -> Path:
        return Path(environment.run("python", "-c", PLACE, cwd=tmp_path).strip()).parent

    assert place() == homes["maskstream"]
    environment.uninstall(first)
    assert place() == homes[order[1]]
    environment.run("python", "-c", "from maskstream import Client", cwd=tmp_path)
