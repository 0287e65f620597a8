"""Checkpoint folders: what is written is read back, and what is wrong is named."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from maskstream.core import checkpoint_folder, checkpoint_hub
from maskstream.core.checkpoint import (
    convert_checkpoint,
    load_strict,
    read_config,
    read_tensors,
    resolve_checkpoint,
    under,
    write_folder,
)
from maskstream.core.checkpoint_summary import inspect_checkpoint
from maskstream.core.errors import CheckpointError, OutputError
from maskstream.core.unfilled import unfilled

CONFIG: dict[str, Any] = {
    "detector_config": {"text_config": {"vocab_size": 99}},
    "tracker_config": {"num_maskmem": 7},
    "new_det_thresh": 0.7,
}
ONE = {"detector_model.a": torch.zeros(1)}
TOKENIZER = {"tokenizer.json": b"{}", "tokenizer_config.json": b'{"pad_token": "x"}'}


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    fused = torch.randn(9, 4)
    return {
        "detector_model.vision_encoder.a.weight": torch.randn(6, 5),
        "detector_model.q.weight": fused[:3],
        "detector_model.k.weight": fused[3:6],
        "detector_model.turned": torch.randn(3, 7).t(),
        "tracker_neck.fpn_layers.0.proj1.bias": torch.randn(8),
        "tracker_model.no_object_pointer": torch.randn(1, 4).to(torch.bfloat16),
        "tracker_model.mask_decoder.scalar": torch.tensor(3.5),
    }


@pytest.fixture
def folder(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    return write_folder(tmp_path / "model", CONFIG, tensors, TOKENIZER)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


# --- round trips --------------------------------------------------------------------------------


def test_round_trip(folder: Path, tensors: dict[str, Tensor]) -> None:
    assert_same(read_tensors(folder), tensors)
    wanted = {"architectures": ["Sam3VideoModel"], **CONFIG, "model_type": "sam3_video"}
    assert read_config(folder) == wanted
    assert (folder / "tokenizer.json").read_bytes() == b"{}"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["model"]
    modes = {path.stat().st_mode for path in folder.iterdir()}
    assert len(modes) == 1


def test_round_trip_in_shards(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", CONFIG, tensors, max_shard_bytes=100)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(files) > 2
    assert sorted(set(index["weight_map"].values())) == files
    assert set(index["weight_map"]) == set(tensors)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    assert index["metadata"]["total_size"] == total
    assert_same(read_tensors(folder), tensors)


def test_prefixes_and_dtype(folder: Path, tensors: dict[str, Tensor]) -> None:
    found = read_tensors(folder, ["tracker_neck.", "tracker_model."], dtype=torch.float16)
    assert_same(
        found,
        {
            name: tensor.half()
            for name, tensor in tensors.items()
            if not name.startswith("detector_model.")
        },
    )
    assert set(under(found, "tracker_neck.")) == {"fpn_layers.0.proj1.bias"}


def test_values_do_not_depend_on_the_file_afterwards(
    folder: Path, tensors: dict[str, Tensor]
) -> None:
    found = read_tensors(folder)
    path = folder / "model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    assert_same(found, tensors)


def test_names_as_transformers_saves_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", CONFIG, ONE)
    values = {
        "tracker_model.tracker_model.no_object_pointer": torch.ones(2),
        "detector_model.position_ids": torch.arange(3),
    }
    save_file(values, folder / "model.safetensors")
    assert_same(read_tensors(folder), {"tracker_model.no_object_pointer": torch.ones(2)})


def test_conversion_keeps_everything_but_the_dtype(
    folder: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    extra = {"merges.txt": b"a b", "tokenizer.json": b"not used"}
    result = convert_checkpoint(folder, tmp_path / "b", torch.bfloat16, tokenizer_files=extra)
    wanted = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    assert_same(read_tensors(result), wanted)
    assert read_config(result) == {**read_config(folder), "dtype": "bfloat16"}
    files = {path.name: path.read_bytes() for path in result.iterdir()}
    assert {name: files[name] for name in (*TOKENIZER, "merges.txt")} == {
        **TOKENIZER,
        "merges.txt": b"a b",
    }


def test_inspection(folder: Path) -> None:
    summary = inspect_checkpoint(folder)
    assert summary.layout == "folder"
    assert summary.has_tokenizer
    assert summary.num_tensors == 7
    assert summary.num_parameters == 30 + 12 + 12 + 21 + 8 + 4 + 1
    assert summary.num_bytes == 4 * (88 - 4) + 2 * 4
    assert dict(summary.dtypes) == {"float32": 6, "bfloat16": 1}
    assert [part.name for part in summary.parts] == [
        "detector_model.k",
        "detector_model.q",
        "detector_model.turned",
        "detector_model.vision_encoder",
        "tracker_model",
        "tracker_model.mask_decoder",
        "tracker_neck",
    ]
    assert dict(summary.settings) == {"vocabulary": 99, "mask memories": 7}
    assert "tracker_neck" in str(summary)


# --- writing ------------------------------------------------------------------------------------


def test_existing_folders_are_safe(folder: Path, tensors: dict[str, Tensor]) -> None:
    with pytest.raises(OutputError, match="exists already"):
        write_folder(folder, CONFIG, ONE)
    assert_same(read_tensors(folder), tensors)
    write_folder(folder, CONFIG, ONE, overwrite=True)
    assert_same(read_tensors(folder), ONE)
    assert not (folder / "tokenizer.json").exists()


def test_failure_leaves_nothing_behind(
    folder: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint_folder, "save_file", fail)
    with pytest.raises(OutputError, match="disk full"):
        write_folder(folder, CONFIG, ONE, overwrite=True)
    assert_same(read_tensors(folder), tensors)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_failed_rename_puts_the_old_folder_back(
    folder: Path, tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.suffix == ".tmp":
            raise OSError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OutputError, match="no"):
        write_folder(folder, CONFIG, ONE, overwrite=True)
    assert_same(read_tensors(folder), tensors)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError):
        write_folder(tmp_path / "file" / "model", CONFIG, ONE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_must_be_finite(value: float, tmp_path: Path, folder: Path) -> None:
    spoilt = torch.zeros(4, 4)
    spoilt[1, 2] = value
    with pytest.raises(CheckpointError, match=r"tensor detector_model\.a holds NaN"):
        write_folder(tmp_path / "other", CONFIG, {"detector_model.a": spoilt})
    save_file({"detector_model.b": spoilt}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor detector_model\.b holds NaN"):
        read_tensors(folder)


def test_large_sums_are_not_infinite_values(tmp_path: Path) -> None:
    large = torch.full((4,), 3e38)
    folder = write_folder(tmp_path / "model", CONFIG, {"detector_model.a": large})
    assert torch.equal(read_tensors(folder)["detector_model.a"], large)
    with pytest.raises(CheckpointError, match=r"tensor detector_model\.a holds"):
        read_tensors(folder, dtype=torch.float16)


def test_weights_cannot_become_integers(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot become torch\.int8"):
        read_tensors(folder, dtype=torch.int8)


# --- damaged folders ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "has no config.json"),
        ("{", "cannot be read as JSON"),
        ("[1]", "must hold a JSON object, not list"),
        ('{"model_type": "sam2_video"}', "must be 'sam3_video', not 'sam2_video'"),
        ("{}", "must be 'sam3_video', not None"),
        ('{"model_type": "sam3_video", "detector_config": {}}', "tracker_config must be an object"),
        (b"\xff\xfe", "cannot be read as JSON"),
    ],
)
def test_bad_configurations(folder: Path, content: str | bytes | None, message: str) -> None:
    path = folder / "config.json"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CheckpointError, match=message):
        read_config(folder)


def test_missing_and_damaged_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for damaged in (content[:-8], content[:20], b"", b"\xff" * 64):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be read"):
            read_tensors(folder)
    path.unlink()
    with pytest.raises(CheckpointError, match="has neither"):
        read_tensors(folder)
    with pytest.raises(CheckpointError, match="has neither"):
        inspect_checkpoint(folder)


def test_bad_indexes(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", CONFIG, tensors, max_shard_bytes=100)
    index = folder / "model.safetensors.index.json"
    weight_map = json.loads(index.read_text())["weight_map"]
    first = min(weight_map.values())

    def expect(changed: object, message: str) -> None:
        index.write_text(json.dumps({"weight_map": changed}))
        with pytest.raises(CheckpointError, match=message):
            read_tensors(folder)

    expect({}, "weight_map must map")
    expect([1], "weight_map must map")
    expect({**weight_map, "lost": first}, "lists tensors no file has: lost")
    expect({**weight_map, "lost": "gone.safetensors"}, r"lacks files .*gone\.safetensors")
    expect({**weight_map, "lost": "../model/" + first}, "lacks files")
    save_file(load_file(folder / first), folder / "twice.safetensors")
    expect({**weight_map, "x": "twice.safetensors"}, "is stored twice")


def test_tensors_of_no_part_are_named(folder: Path) -> None:
    save_file({**ONE, "head.weight": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"holds tensors of no part .*: head\.weight"):
        read_tensors(folder, ["detector_model."])


def test_no_tensor_of_that_prefix(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tensor whose name starts with other\."):
        read_tensors(folder, ["other."])


# --- filling modules ----------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)
        self.register_buffer("table", torch.ones(5))


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return {name: torch.randn(tensor.shape) for name, tensor in Net().state_dict().items()}


def test_meta_module_takes_the_tensors_themselves(weights: dict[str, Tensor]) -> None:
    with unfilled():
        net = Net()
    assert load_strict(net, weights, context="net") == ()
    assert_same(net.state_dict(), weights)
    assert net.first.weight.data_ptr() == weights["first.weight"].data_ptr()
    assert isinstance(net.first.weight, nn.Parameter)
    assert net.first.weight.requires_grad


def test_every_fault_is_named(weights: dict[str, Tensor]) -> None:
    del weights["first.bias"], weights["table"]
    weights["third.weight"] = torch.zeros(1)
    weights["second.weight"] = torch.zeros(2, 5)
    weights["second.bias"] = torch.tensor(0.0)
    net = Net()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strict(net, weights, context="the net")
    message = str(caught.value)
    assert message.startswith("the net: ")
    assert "2 missing: table, first.bias;" in message
    assert "1 not in the model: third.weight;" in message
    assert "second.weight is 2×5 where the model has 2×4" in message
    assert "second.bias is scalar where the model has 2" in message
    assert_same(net.state_dict(), before)


def test_long_lists_are_cut(weights: dict[str, Tensor]) -> None:
    extra = {f"x{number:03d}": torch.zeros(1) for number in range(100)}
    with pytest.raises(CheckpointError, match=r"100 not in the model: x000, .*x039 and 60 more"):
        load_strict(Net(), weights | extra, context="net")


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_optional_tensors(weights: dict[str, Tensor], device: str) -> None:
    with torch.device(device):
        net = Net()
    own = net.second.weight.detach().clone()
    for name in ("second.weight", "second.bias"):
        del weights[name]
    half = {name: tensor.half() for name, tensor in weights.items()}
    absent = load_strict(net, half, context="net", optional=["second"])
    assert absent == ("second.weight", "second.bias")
    wanted = torch.zeros(2, 4) if device == "meta" else own
    assert torch.equal(net.second.weight, wanted.half())
    with pytest.raises(CheckpointError, match=r"2 missing: second\.weight"):
        load_strict(Net(), weights, context="net", optional=["sec", "table"])


# --- finding ------------------------------------------------------------------------------------


def test_embedded_checkpoint() -> None:
    folder = resolve_checkpoint("tiny")
    assert folder.is_dir()
    assert inspect_checkpoint("tiny").num_bytes < 16e6


def test_paths(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_checkpoint(folder) == folder
    assert resolve_checkpoint(str(folder)) == folder
    official = tmp_path / "sam3.pt"
    official.write_bytes(b"")
    assert resolve_checkpoint(official) == official
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_checkpoint("~/model") == folder
    monkeypatch.chdir(tmp_path)
    os.makedirs("facebook")
    folder.rename("facebook/sam3")
    assert resolve_checkpoint("facebook/sam3") == Path("facebook/sam3")


def test_paths_that_lead_nowhere(folder: Path, tmp_path: Path) -> None:
    for name in ("no-such-thing", "/no/such/folder", "a/b/c", "weights/sam3.pt", "", Path("a/b")):
        with pytest.raises(CheckpointError, match=r"no checkpoint|no config"):
            resolve_checkpoint(name)
    with pytest.raises(CheckpointError, match=r"neither a checkpoint folder nor a \.pt"):
        resolve_checkpoint(folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="it is no checkpoint folder"):
        resolve_checkpoint(tmp_path)


def test_hub_name_without_network() -> None:
    with pytest.raises(CheckpointError, match="the hub cannot be reached"):
        resolve_checkpoint("facebook/sam3-of-which-nothing-is-cached")


def test_hub_download(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[tuple[object, ...], dict[str, Any]]] = []

    def download(*args: object, **kwargs: Any) -> str:
        calls.append((args, kwargs))
        return str(folder)

    monkeypatch.setattr(checkpoint_hub, "snapshot_download", download)
    assert resolve_checkpoint("facebook/sam3", revision="main", token="t") == folder
    ((args, kwargs),) = calls
    assert args == ("facebook/sam3",)
    assert (kwargs["revision"], kwargs["token"]) == ("main", "t")
    assert "model.safetensors" in kwargs["allow_patterns"]
    assert not any(fnmatch("sam3.pt", pattern) for pattern in kwargs["allow_patterns"])


def test_hub_download_of_sam31(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its repository holds an official file and no folder that could be read."""
    file = tmp_path / "sam3.1_multiplex.pt"
    file.write_bytes(b"")

    def download(*args: object, allow_patterns: list[str], **kwargs: Any) -> str:
        assert any(fnmatch(file.name, pattern) for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(checkpoint_hub, "snapshot_download", download)
    assert resolve_checkpoint("facebook/sam3.1") == file


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A hub on this machine that answers every request with ``answer``."""
    answer: dict[str, Any] = {"status": 404, "headers": {}, "told": []}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer["told"].append(self.headers.get("Authorization"))
            self.send_response(answer["status"])
            for name, value in answer["headers"].items():
                self.send_header(name, value)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    fetch = partial(
        huggingface_hub.snapshot_download,
        endpoint=f"http://127.0.0.1:{server.server_port}",
        cache_dir=tmp_path / "cache",
    )
    monkeypatch.setattr(checkpoint_hub, "snapshot_download", fetch)
    yield answer
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "GatedRepo", "is gated: ask for access"),
        (401, "RepoNotFound", "does not exist, or it is private"),
        (404, "RevisionNotFound", "at main: there is no such revision"),
        (403, "Other", "cannot be downloaded|cannot be reached"),
    ],
)
def test_hub_refusals(hub: dict[str, Any], status: int, code: str, message: str) -> None:
    hub.update(status=status, headers={"X-Error-Code": code, "X-Error-Message": code})
    with pytest.raises(CheckpointError, match=message):
        resolve_checkpoint("someone/something", revision="main", token="none")


def test_token_from_the_usual_place(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_from_the_environment")
    with pytest.raises(CheckpointError):
        resolve_checkpoint("someone/something")
    assert set(hub["told"]) == {"Bearer hf_from_the_environment"}
