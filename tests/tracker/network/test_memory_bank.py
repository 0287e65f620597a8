"""The memory bank against a plain dictionary that never forgets, and its own promises."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from maskstream.core.errors import CheckpointError, ConfigError, InputError, SessionError
from maskstream.tracker.config import MaskDecoderConfig, PromptEncoderConfig, TrackerConfig
from maskstream.tracker.network.frame_bank import MIN_CAPACITY
from maskstream.tracker.network.memory_bank import MemoryBank, MemoryBatch

GRID = (2, 3)
CELLS, CHANNELS, HIDDEN = 6, 8, 16


def small_config(*, most_conditioning: int = 4) -> TrackerConfig:
    return TrackerConfig(
        image_size=28,
        fpn_hidden_size=HIDDEN,
        prompt_encoder_config=PromptEncoderConfig(hidden_size=HIDDEN, image_size=28),
        mask_decoder_config=MaskDecoderConfig(hidden_size=HIDDEN),
        max_cond_frame_num=most_conditioning,
        memory_attention_hidden_size=HIDDEN,
        memory_encoder_hidden_size=HIDDEN,
        memory_encoder_output_channels=CHANNELS,
        mask_downsampler_embed_dim=HIDDEN,
        memory_fuser_embed_dim=HIDDEN,
    )


def make_bank(rows: int = 1, *, conditioning: int = 8, most: int = 4) -> MemoryBank:
    bank = MemoryBank(
        small_config(most_conditioning=most), GRID, max_conditioning_frames=conditioning
    )
    bank.append_rows(rows)
    return bank


def put(bank: MemoryBank, rows: list[int], frame_index: int, *, conditioning: bool = False) -> None:
    """Entries that say which row and frame they are of; exact in bfloat16."""
    names = torch.tensor([float(name_of(row, frame_index)) for row in rows])
    maps = names[:, None, None].expand(-1, CELLS, CHANNELS)
    pointers = names[:, None].expand(-1, HIDDEN)
    bank.write(rows, frame_index, maps, pointers, conditioning=conditioning)


def name_of(row: int, frame_index: int) -> int:
    return row * 64 + frame_index % 64


def seen_maps(batch: MemoryBatch, row: int) -> list[tuple[int, int]]:
    """(offset, name) of the maps of a row, sorted."""
    names = batch.maps[row, :, 0, 0].long().tolist()
    offsets, valid = batch.map_offsets[row].tolist(), batch.map_valid[row].tolist()
    return sorted((o, n) for o, n, v in zip(offsets, names, valid, strict=True) if v)


def seen_pointers(batch: MemoryBatch, row: int) -> list[tuple[int, int]]:
    names = batch.pointers[row, :, 0].long().tolist()
    offsets = (batch.pointer_offsets[row] * 15).round().long().tolist()
    valid = batch.pointer_valid[row].tolist()
    return sorted((o, n) for o, n, v in zip(offsets, names, valid, strict=True) if v)


class Forgetless:
    """One masklet's memory as the definition has it: dictionaries of all frames."""

    def __init__(self) -> None:
        self.cond: dict[int, int] = {}
        self.other: dict[int, int] = {}

    def maps(self, frame: int, *, reverse: bool, most: int) -> list[tuple[int, int]]:
        chosen = list(self.cond)
        if most != -1 and len(chosen) > most:
            before = [t for t in self.cond if t < frame]
            after = [t for t in self.cond if t >= frame]
            chosen = ([max(before)] if before else []) + ([min(after)] if after else [])
            rest = [t for t in self.cond if t not in chosen]
            rest.sort(key=lambda t: abs(t - frame))
            chosen += rest[: most - len(chosen)]
        out = [(0, self.cond[t]) for t in chosen]
        for back in range(1, 7):
            t = frame + back if reverse else frame - back
            left_over = {k: v for k, v in self.cond.items() if k not in chosen}
            if t in self.other or t in left_over:
                out.append((back, self.other.get(t, left_over.get(t, -1))))
        return sorted(out)

    def pointers(self, frame: int, *, reverse: bool) -> list[tuple[int, int]]:
        sign = -1 if reverse else 1
        out = [((frame - t) * sign, n) for t, n in self.cond.items() if (frame - t) * sign >= 0]
        for back in range(1, 16):
            if frame - sign * back in self.other:
                out.append((back, self.other[frame - sign * back]))
        return sorted(out)


@pytest.mark.parametrize("most", [4, 2, -1])
@pytest.mark.parametrize("reverse", [False, True])
def test_remembers_what_the_definition_says(reverse: bool, most: int) -> None:
    rng = np.random.default_rng(most + 1 + 10 * reverse)
    bank = make_bank(3, conditioning=64, most=most)
    memories = [Forgetless() for _ in range(3)]
    for step in range(60):
        frame = 60 - step if reverse else step
        conditioning = [row for row in range(3) if step == 0 or rng.random() < 0.15]
        others = [row for row in range(3) if row not in conditioning]
        if step:
            batch = bank.gather(frame, reverse=reverse)
            for row, memory in enumerate(memories):
                assert seen_maps(batch, row) == memory.maps(frame, reverse=reverse, most=most)
                assert seen_pointers(batch, row) == memory.pointers(frame, reverse=reverse)
        put(bank, conditioning, frame, conditioning=True)
        put(bank, others, frame)
        for row in conditioning:
            memories[row].cond[frame] = name_of(row, frame)
        for row in others:
            memories[row].other[frame] = name_of(row, frame)


def test_some_rows_in_another_order() -> None:
    bank = make_bank(3)
    put(bank, [0, 1, 2], 0, conditioning=True)
    put(bank, [0, 1, 2], 1)
    batch = bank.gather(2, reverse=False, rows=[2, 0])
    assert len(batch) == 2
    assert seen_maps(batch, 0) == [(0, name_of(2, 0)), (1, name_of(2, 1))]
    assert seen_maps(batch, 1) == [(0, name_of(0, 0)), (1, name_of(0, 1))]


def test_full_when_all_have_the_same_number_and_only_then() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    put(bank, [0, 1], 1)
    same = bank.gather(2, reverse=False)
    assert same.full
    assert same.maps.shape == (2, 2, CELLS, CHANNELS)
    put(bank, [0], 2)
    differ = bank.gather(3, reverse=False)
    assert not differ.full
    assert differ.map_valid.tolist() == [[True] * 3, [True, True, False]]
    assert differ.pointer_valid.tolist() == [[True] * 3, [True, True, False]]


def test_a_jump_finds_only_real_neighbours() -> None:
    bank = make_bank()
    put(bank, [0], 0, conditioning=True)
    for frame in range(1, 30):
        put(bank, [0], frame)
    far = bank.gather(10_000_003, reverse=False)
    assert seen_maps(far, 0) == [(0, name_of(0, 0))]
    assert seen_pointers(far, 0) == [(10_000_003, name_of(0, 0))]


def test_the_frame_itself_is_not_its_own_memory() -> None:
    bank = make_bank()
    put(bank, [0], 0, conditioning=True)
    for frame in range(1, 9):
        put(bank, [0], frame)
    offsets = [offset for offset, _ in seen_maps(bank.gather(8, reverse=False), 0)]
    assert offsets == [0, 1, 2, 3, 4, 5, 6]


def test_space_does_not_depend_on_the_frame() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    shapes = set()
    for frame in range(1, 200):
        batch = bank.gather(frame, reverse=False)
        if frame > 16:
            shapes.add((batch.maps.shape, batch.pointers.shape))
        put(bank, [0, 1], frame, conditioning=frame % 7 == 0)
    assert bank.capacity == MIN_CAPACITY
    assert max(shape[0][1] for shape in shapes) <= 4 + 6
    assert max(shape[1][1] for shape in shapes) <= 8 + 15


def test_the_first_conditioning_frame_stays_and_the_oldest_other_goes() -> None:
    bank = make_bank(conditioning=3, most=-1)
    for frame in (50, 10, 20, 30, 40):
        put(bank, [0], frame, conditioning=True)
    kept = sorted(name for _, name in seen_maps(bank.gather(60, reverse=False), 0))
    assert kept == sorted(name_of(0, frame) for frame in (50, 30, 40))


def test_writing_a_frame_again_replaces_it() -> None:
    bank = make_bank()
    put(bank, [0], 0, conditioning=True)
    put(bank, [0], 5)
    for conditioning in (False, True, False):  # and once conditioning, it stays so
        new = torch.full((1, CELLS, CHANNELS), 3.0)
        bank.write([0], 5, new, torch.full((1, HIDDEN), 4.0), conditioning=conditioning)
        batch = bank.gather(6, reverse=False)
        assert (3 in [name for _, name in seen_maps(batch, 0)]) is True
        assert len(seen_maps(batch, 0)) == len(seen_pointers(batch, 0)) == 2
    assert seen_maps(batch, 0) == [(0, name_of(0, 0)), (0, 3)]


def test_write_maps_leaves_pointers_alone() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    put(bank, [0, 1], 1)
    bank.write_maps([1], 0, torch.full((1, CELLS, CHANNELS), 5.0))
    bank.write_maps([1], 1, torch.full((1, CELLS, CHANNELS), 6.0))
    batch = bank.gather(2, reverse=False)
    assert seen_maps(batch, 0) == [(0, name_of(0, 0)), (1, name_of(0, 1))]
    assert seen_maps(batch, 1) == [(0, 5), (1, 6)]
    assert seen_pointers(batch, 1) == [(1, name_of(1, 1)), (2, name_of(1, 0))]


def test_make_conditioning_moves_the_entry() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    put(bank, [0, 1], 1)
    bank.make_conditioning([1], 1)
    bank.make_conditioning([1], 1)  # again: nothing left to do
    batch = bank.gather(2, reverse=False)
    assert seen_maps(batch, 0) == [(0, name_of(0, 0)), (1, name_of(0, 1))]
    assert seen_maps(batch, 1) == [(0, name_of(1, 0)), (0, name_of(1, 1))]
    assert seen_pointers(batch, 1) == [(1, name_of(1, 1)), (2, name_of(1, 0))]


def test_removing_rows_keeps_the_others_in_order_and_frees_space() -> None:
    bank = make_bank(40)
    rows = list(range(40))
    put(bank, rows, 0, conditioning=True)
    large = bank.capacity
    bank.remove_rows([0, 5])
    assert bank.num_rows == 38
    names = [seen_maps(bank.gather(1, reverse=False), row)[0][1] for row in (0, 4, 5, 37)]
    assert names == [name_of(row, 0) for row in (1, 6, 7, 39)]
    bank.remove_rows(list(range(3, 38)))
    assert bank.capacity < large // 4
    batch = bank.gather(1, reverse=False)
    assert [seen_maps(batch, row)[0][1] for row in range(3)] == [name_of(r, 0) for r in (1, 2, 3)]
    bank.append_rows(2)
    put(bank, [3, 4], 2, conditioning=True)
    batch = bank.gather(3, reverse=False)
    assert seen_maps(batch, 0) == [(0, name_of(1, 0))]
    assert seen_maps(batch, 4) == [(0, name_of(4, 2))]


def test_rows_that_come_back_are_empty() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    bank.remove_rows([0])
    bank.append_rows(1)
    with pytest.raises(SessionError, match=r"rows \[1\] have no conditioning frame"):
        bank.gather(1, reverse=False)


def test_state_survives_a_restart() -> None:
    bank = make_bank(3, conditioning=3)
    for frame in range(12):
        put(bank, [0, 1, 2], frame, conditioning=frame % 3 == 0)
    bank.remove_rows([1])
    bank.append_rows(1)
    put(bank, [2], 11, conditioning=True)
    state = bank.state_dict()
    assert all(isinstance(value, (int, Tensor)) for value in state.values())
    other = make_bank(1, conditioning=3)
    other.load_state_dict(state)
    for frame in range(12, 20):
        for reverse in (False, True):
            a = bank.gather(frame, reverse=reverse)
            b = other.gather(frame, reverse=reverse)
            for name in ("maps", "map_offsets", "pointers", "pointer_offsets", "map_valid"):
                assert torch.equal(getattr(a, name), getattr(b, name))
        put(bank, [0, 1, 2], frame, conditioning=frame == 15)
        put(other, [0, 1, 2], frame, conditioning=frame == 15)


def test_state_holds_only_what_there_is() -> None:
    bank = make_bank(10)
    put(bank, list(range(10)), 0, conditioning=True)
    maps = bank.state_dict()["maps"]
    assert isinstance(maps, Tensor)
    assert maps.shape == (10, CELLS, CHANNELS)


@pytest.mark.parametrize("fault", ["missing", "maps", "table", "kind"])
def test_a_broken_state_is_refused_and_changes_nothing(fault: str) -> None:
    bank = make_bank(1)
    put(bank, [0], 0, conditioning=True)
    state = bank.state_dict()
    if fault == "missing":
        del state["pointers"]
    elif fault == "maps":
        state["maps"] = torch.zeros(2, CELLS, CHANNELS)
    elif fault == "table":
        state["map_frames"] = torch.zeros(1, 3, dtype=torch.int64)
    else:
        state["maps"] = 3
    other = make_bank(1)
    put(other, [0], 7, conditioning=True)
    with pytest.raises(CheckpointError, match="memory bank"):
        other.load_state_dict(state)
    assert seen_maps(other.gather(8, reverse=False), 0) == [(0, name_of(0, 7))]


def test_what_cannot_be_is_refused() -> None:
    bank = make_bank(2)
    put(bank, [0, 1], 0, conditioning=True)
    with pytest.raises(InputError, match="there are 2"):
        put(bank, [2], 1)
    with pytest.raises(InputError, match="there are 2"):
        bank.remove_rows([-1])
    with pytest.raises(InputError, match="no memory of frame 4"):
        bank.make_conditioning([0], 4)
    with pytest.raises(InputError, match="no memory of frame 4"):
        bank.write_maps([1], 4, torch.zeros(1, CELLS, CHANNELS))
    with pytest.raises(InputError, match="maps of shape"):
        bank.write([0], 1, torch.zeros(1, 2, 2), torch.zeros(1, HIDDEN), conditioning=False)
    with pytest.raises(ConfigError, match="at least 2"):
        MemoryBank(small_config(), GRID, max_conditioning_frames=1)


def test_an_empty_bank_and_empty_writes() -> None:
    bank = make_bank(0)
    assert len(bank.gather(3, reverse=False)) == 0
    put(bank, [], 0)
    bank.remove_rows([])
    assert bank.num_rows == 0
