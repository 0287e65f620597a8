"""The official layout: complete, strict, and with the right values in the right places."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Sam3VideoConfig, Sam3VideoModel

from maskstream.core.checkpoint import load_strict, read_config, read_tensors
from maskstream.core.checkpoint_summary import inspect_checkpoint
from maskstream.core.errors import CheckpointError
from maskstream.core.official import convert_official, official_config, open_official
from maskstream.core.official_table import How, official_tensors
from maskstream.core.official_table_multiplex import multiplex_tensors
from maskstream.pipeline.video.model import VideoModel

TABLE = Path(__file__).parent / "data" / "sam3_pt_tensors.tsv.gz"
TABLE_31 = Path(__file__).parent / "data" / "sam31_multiplex_pt_tensors.tsv.gz"
POINTS = "detector_model.geometry_encoder.points_"
BLOCK = "detector.backbone.vision_backbone.trunk.blocks.3"


@pytest.fixture(scope="module")
def listed() -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype by name, as the official file lists them."""
    lines = gzip.decompress(TABLE.read_bytes()).decode().splitlines()
    rows = [line.split("\t") for line in lines]
    return {name: (tuple(map(int, shape.split(","))), dtype) for name, shape, dtype in rows}


@pytest.fixture
def reference() -> Sam3VideoModel:
    with torch.device("meta"):
        return Sam3VideoModel(Sam3VideoConfig())


@pytest.fixture
def skeleton(listed: dict[str, tuple[tuple[int, ...], str]]) -> dict[str, Tensor]:
    """All official tensors at full shape, each standing on a single number."""
    return {
        name: torch.zeros(1, dtype=getattr(torch, dtype)).expand(shape)
        for name, (shape, dtype) in listed.items()
    }


def save(tensors: dict[str, Any], folder: Path, wrapped: bool = True) -> Path:
    path = folder / "sam3.pt"
    torch.save({"model": tensors} if wrapped else tensors, path)
    return path


def test_table_is_the_official_list(listed: dict[str, tuple[tuple[int, ...], str]]) -> None:
    names = [entry.name for entry in official_tensors()]
    assert len(names) == len(set(names)) == 1465
    assert {entry.name: entry.shape for entry in official_tensors()} == {
        name: shape for name, (shape, _) in listed.items()
    }


def test_the_table_of_sam31_is_its_official_list() -> None:
    rows = [
        line.split("\t") for line in gzip.decompress(TABLE_31.read_bytes()).decode().splitlines()
    ]
    assert {entry.name: entry.shape for entry in multiplex_tensors()} == {
        name: tuple(map(int, shape.split(","))) for name, shape, _ in rows
    }
    assert len(multiplex_tensors()) == 1623
    targets = Counter(target for entry in multiplex_tensors() for target in entry.targets)
    assert [name for name, count in targets.items() if count > 1] == [
        "tracker_model.interactive_prompt_encoder.point_embed.weight"
    ]


def test_only_rotary_angles_are_dropped() -> None:
    dropped = [entry.name for entry in official_tensors() if entry.how is How.DROP]
    assert len(dropped) == 32
    assert all(name.endswith(".attn.freqs_cis") for name in dropped)


def test_every_tensor_of_the_reference_is_made_once(
    reference: Sam3VideoModel, skeleton: dict[str, Tensor]
) -> None:
    made = {name: tuple(tensor.shape) for name, tensor in convert_official(skeleton).items()}
    ours = {name for name in made if name.startswith(POINTS)}
    wanted = {name: tuple(tensor.shape) for name, tensor in reference.state_dict().items()}
    assert {name: shape for name, shape in made.items() if name not in ours} == wanted
    assert len(ours) == 6
    sources = Counter(target for entry in official_tensors() for target in entry.targets)
    point_rows = "tracker_model.prompt_encoder.point_embed.weight"
    assert {target for target, count in sources.items() if count > 1} == {point_rows}
    assert sources[point_rows] == 4


def test_configuration_is_the_references_own() -> None:
    ours = Sam3VideoConfig(**official_config()).to_dict()
    assert {**ours, "architectures": None} == Sam3VideoConfig().to_dict()


def test_values_arrive_where_they_belong(skeleton: dict[str, Tensor]) -> None:
    text = "detector.backbone.language_backbone.encoder.text_projection"
    position = "detector.backbone.vision_backbone.trunk.pos_embed"
    points = [f"tracker.sam_prompt_encoder.point_embeddings.{i}.weight" for i in range(4)]
    matrix = "tracker.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    attention = "detector.transformer.decoder.layers.2.ca_text.in_proj_weight"
    for name in (f"{BLOCK}.attn.qkv.weight", text, position, *points, matrix, attention):
        skeleton[name] = torch.randn(skeleton[name].shape)
    made = convert_official(skeleton)

    layer = "detector_model.vision_encoder.backbone.layers.3.attention"
    for index, part in enumerate("qkv"):
        rows = skeleton[f"{BLOCK}.attn.qkv.weight"][1024 * index : 1024 * (index + 1)]
        assert torch.equal(made[f"{layer}.{part}_proj.weight"], rows)
        rows = skeleton[attention][256 * index : 256 * (index + 1)]
        name = f"detector_model.detr_decoder.layers.2.text_cross_attn.{part}_proj.weight"
        assert torch.equal(made[name], rows)
    pooled = torch.randn(5, 1024)
    linear = made["detector_model.text_encoder.text_projection.weight"]
    torch.testing.assert_close(
        torch.nn.functional.linear(pooled, linear), pooled @ skeleton[text], rtol=1e-4, atol=1e-3
    )
    grid = made["detector_model.vision_encoder.backbone.embeddings.position_embeddings"]
    assert torch.equal(grid, skeleton[position][:, 1:])
    rows = made["tracker_model.prompt_encoder.point_embed.weight"]
    assert torch.equal(rows, torch.cat([skeleton[name] for name in points]))
    for name in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        made_matrix = made[f"tracker_model.{name}.positional_embedding"]
        assert torch.equal(made_matrix, skeleton[matrix])


def test_prefixes_choose_targets(skeleton: dict[str, Tensor]) -> None:
    made = convert_official(skeleton, ["tracker_neck.", "detector_model.text_projection."])
    assert {name.split(".")[0] for name in made} == {"tracker_neck", "detector_model"}
    assert len(made) == 22 + 2


def test_faults_are_named_as_in_the_file(skeleton: dict[str, Tensor], tmp_path: Path) -> None:
    del skeleton["tracker.no_obj_ptr"]
    skeleton["detector.something_new"] = torch.zeros(2)
    weight = f"{BLOCK}.mlp.fc1.weight"
    skeleton[weight] = torch.zeros(1).expand(4096, 1024)
    with pytest.raises(CheckpointError) as caught:
        open_official(save(skeleton, tmp_path))
    message = str(caught.value)
    assert "1 missing: tracker.no_obj_ptr;" in message
    assert "1 not in the model: detector.something_new;" in message
    assert f"{weight} is 4096×1024 where the model has 4736×1024" in message


@pytest.mark.parametrize("index", [0, 700, 1464])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors, name: tensors.pop(name),
        lambda tensors, name: tensors.update({name: torch.zeros(1).expand(3, 5)}),
        lambda tensors, name: tensors.update({name + "_x": tensors[name]}),
    ],
    ids=["missing", "misshapen", "extra"],
)
def test_any_single_fault_is_named(
    skeleton: dict[str, Tensor],
    tmp_path: Path,
    index: int,
    spoil: Callable[[dict[str, Tensor], str], object],
) -> None:
    name = list(skeleton)[index]
    spoil(skeleton, name)
    with pytest.raises(CheckpointError, match=name):
        read_tensors(save(skeleton, tmp_path))


def test_integers_are_refused(skeleton: dict[str, Tensor], tmp_path: Path) -> None:
    skeleton["tracker.no_obj_ptr"] = torch.zeros(1, dtype=torch.int32).expand(1, 256)
    with pytest.raises(CheckpointError, match=r"tracker\.no_obj_ptr must hold floats"):
        open_official(save(skeleton, tmp_path))


def test_unreadable_files(skeleton: dict[str, Tensor], tmp_path: Path) -> None:
    path = save(skeleton, tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="is the download complete"):
        open_official(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="is the download complete"):
        open_official(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is the download complete"):
        open_official(path)
    with pytest.raises(CheckpointError, match="no file"):
        open_official(tmp_path / "absent.pt")


def test_code_in_a_file_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "harm",))

    path = tmp_path / "sam3.pt"
    torch.save({"model": {"a": Harmful()}}, path)
    with pytest.raises(CheckpointError):
        open_official(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [[1, 2], {}, {"model": {}}, {"epoch": 3}])
def test_files_of_other_things(content: object, tmp_path: Path) -> None:
    path = tmp_path / "sam3.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"must hold a dict|not tensors"):
        open_official(path)


def test_inspection_counts_everything(skeleton: dict[str, Tensor], tmp_path: Path) -> None:
    summary = inspect_checkpoint(save(skeleton, tmp_path, wrapped=False))
    assert summary.layout == "official"
    assert summary.num_tensors == 1797 + 6
    assert dict(summary.dtypes) == {"float32": 1803}
    assert not summary.has_tokenizer
    vision = next(part for part in summary.parts if part.name == "detector_model.vision_encoder")
    assert vision.num_parameters > 450_000_000
    assert "1,803 tensors" in str(summary)
    assert summary.settings["vision layers"] == 32


@pytest.mark.timeout(600)
def test_full_size_file_loads_strictly(
    listed: dict[str, tuple[tuple[int, ...], str]], reference: Sam3VideoModel, tmp_path: Path
) -> None:
    """3.4 GB of random numbers, written, read and put into the reference and into our own model."""
    noise = torch.randn(2**20)
    tensors = {name: _filled(shape, dtype, noise) for name, (shape, dtype) in listed.items()}
    probe = f"{BLOCK}.attn.qkv.weight"
    keys = tensors[probe][1024:2048].to(torch.bfloat16)
    path = save(tensors, tmp_path)
    del tensors
    try:
        assert path.stat().st_size > 3.4e9
        loaded = read_tensors(path, dtype=torch.bfloat16)
        assert read_config(path)["model_type"] == "sam3_video"
        ours = VideoModel.from_checkpoint(path, device="cpu", dtype="bfloat16")
    finally:
        path.unlink()
    weight = "detector_model.vision_encoder.backbone.layers.3.attention.k_proj.weight"
    assert torch.equal(loaded[weight], keys)
    points = [name for name in loaded if name.startswith(POINTS)]
    assert len(points) == 6
    for name in points:
        del loaded[name]
    assert load_strict(reference, loaded, context="full size") == ()
    assert not any(tensor.is_meta for tensor in reference.state_dict().values())
    made = ours.to_tensors()
    for name in points:
        del made[name]
    assert set(made) == set(loaded)
    assert all(torch.equal(made[name], loaded[name]) for name in made)


def _filled(shape: tuple[int, ...], dtype: str, noise: Tensor) -> Tensor:
    """A tensor of its own memory, filled with ``noise`` again and again."""
    tensor = torch.empty(shape, dtype=getattr(torch, dtype))
    flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).view(-1)
    for piece in flat.split(noise.numel()):
        piece.copy_(noise[: piece.numel()])
    return tensor
