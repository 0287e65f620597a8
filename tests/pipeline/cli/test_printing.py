"""No encoding of the output ends a command with a traceback."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest

from maskstream.pipeline.cli.main import main
from maskstream.pipeline.cli.printing import json_line, make_printable
from tests.pipeline.cli.test_segment import Loader
from tests.pipeline.clips import write_numbered_clip

COMMANDS = ["segment", "checkpoint", "serve", "stream", "prompt", "sessions", "results", "doctor"]


class Output:
    """Standard output and standard error in one encoding; an error is an error, as in a pipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
        self._streams = {name: io.BytesIO() for name in ("stdout", "stderr")}
        for name, stream in self._streams.items():
            monkeypatch.setattr(sys, name, io.TextIOWrapper(stream, encoding, write_through=True))
        self.encoding = encoding

    def __getitem__(self, name: str) -> str:
        return self._streams[name].getvalue().decode(self.encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "gbk"])
@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=str)
def test_help_in_any_encoding(
    command: list[str], encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(monkeypatch, encoding)
    with pytest.raises(SystemExit) as caught:
        main([*command, "--help"])
    assert caught.value.code == 0
    assert "usage: maskstream" in output["stdout"]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_labels_paths_and_errors(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Output(monkeypatch, encoding)
    clip = write_numbered_clip(tmp_path / "足球.mp4", 3)
    command = ["segment", str(clip), "--format", "jsonl", "--text", "足球", "--text", "naïve – 🐶"]
    assert main([*command, "--out", str(tmp_path / "ergebnis-ä")], load=Loader()) == 0
    assert "\\u8db3\\u7403" in output["stdout"]
    assert " - \\U0001f436" in output["stdout"].replace("\n", "")
    assert main([*command, "--point", "→"], load=Loader()) == 2
    assert "--point ->" in output["stderr"]


def test_doctor_prints_its_arrows(monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(monkeypatch, "ascii")
    make_printable()
    print("→ 1–2 × …")
    assert output["stdout"] == "-> 1-2 x ...\n"


def test_json_stays_json(monkeypatch: pytest.MonkeyPatch) -> None:
    value = {"label": "足球 🐶"}
    output = Output(monkeypatch, "latin-1")
    make_printable()
    print(json_line(value))
    assert json.loads(output["stdout"]) == value
    monkeypatch.undo()
    assert json.loads(json_line(value)) == value


def test_names_of_files_that_are_no_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = Output(monkeypatch, "utf-8")
    clip = write_numbered_clip(tmp_path / "clip.mp4", 3)
    odd = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    clip.rename(odd)
    out = tmp_path / os.fsdecode(b"\xe9")
    command = ["segment", str(odd), "--text", "a", "--no-overlay", "--out", str(out)]
    assert main(command, load=Loader()) == 0
    assert "\\udce9" in output["stdout"]
    coco = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    assert coco["info"]["description"] == f"masks and identities of {odd.name}"
