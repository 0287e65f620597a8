"""One frame of a session on SAM 3.1: what it shows of the objects, and what their buckets keep."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from maskstream.tracker.network.maps import as_tokens, resize
from maskstream.tracker.network.multiplex.frame import MultiplexFrame
from maskstream.tracker.network.multiplex.given_masks import apart, as_clicked, as_given, shrunk
from maskstream.tracker.network.multiplex.objects import Objects
from maskstream.tracker.network.multiplex.slots import SlotTable, state_for
from maskstream.tracker.network.multiplex.states import States
from maskstream.tracker.network.protocol import (
    PRESENT_LOGIT,
    Drawn,
    FoundMasks,
    FrameChanges,
    MaskletPrediction,
)
from maskstream.tracker.object_prompt import ObjectPrompt
from maskstream.tracker.overlap import NO_OBJECT_LOGIT as LOST_LOGIT
from maskstream.tracker.rows import take

if TYPE_CHECKING:
    from maskstream.tracker.network.multiplex.memories import MultiplexMemories

TOP_LEFT, BOTTOM_RIGHT = 2, 3


@dataclass(frozen=True, slots=True)
class BucketMemory:
    """What a state keeps of a frame: maps (B, L, C) and pointers (B, M, C)."""

    maps: Tensor
    pointers: Tensor


@dataclass(frozen=True, slots=True)
class BucketFrame:
    """One frame of a session; see :mod:`maskstream.tracker.network.protocol`."""

    memories: MultiplexMemories
    frame: MultiplexFrame
    frame_index: int
    reverse: bool
    size: tuple[int, int] | None

    # ---------------------------------------------------------------- predicting

    def predict(self, rows: Sequence[int]) -> MaskletPrediction:
        """Segment objects from what is remembered of them and of those they share buckets with."""
        states, model = self.memories.states, self.memories.model
        wanted = set(rows)
        groups, live, order = [], [], []
        for index, state in enumerate(states.states):
            if wanted.isdisjoint(state.rows):
                continue
            numbers = np.array(state.table.buckets)
            for part in self._parts(len(numbers)):
                some = numbers[part]
                buckets = states.buckets(index)[part.start : part.stop]
                groups.append(self.memories.tokens(buckets, self.frame_index, self.reverse))
                live.append(some >= 0)
                order += [state.rows[number] for number in some[some >= 0].tolist()]
        if not groups:
            return self._nothing()
        frames = {frame for group in groups for frame in group.frames}
        images = {frame: self.memories.images[frame] for frame in frames}
        answers = model.propagate(self.frame, groups, images, live)
        place = {row: number for number, row in enumerate(order)}
        return _select(answers, [place[row] for row in rows])

    def _parts(self, num_buckets: int) -> list[slice]:
        """The buckets of a state that are computed together.

        On the CPU one by one: batches gain nothing there, and what is found of an object does not
        depend, to the last bit, on buckets it is not in.
        """
        if self.memories.model.device.type != "cpu":
            return [slice(0, num_buckets)]
        return [slice(number, number + 1) for number in range(num_buckets)]

    def _nothing(self) -> MaskletPrediction:
        empty = self.frame.propagation.image.new_zeros(0)
        hidden = self.memories.model.config.fpn_hidden_size
        return MaskletPrediction(
            empty.new_zeros(0, *self.memories.model.mask_size),
            empty,
            empty,
            empty.new_zeros(0, hidden),
        )

    # ---------------------------------------------------------------- remembering

    def remember(self, changes: FrameChanges) -> Writing:
        """Encode what a step makes of the frame.

        A state that an object joins on the frame is encoded as the original does it then: with the
        masks as they were predicted, each pixel to one of them. All others are encoded with the
        masks as the rules have left them.
        """
        states = self.memories.states
        prompts = [*changes.prompt_ids, *changes.started_prompts]
        given = set(changes.given)
        stepped = [
            index
            for index, state in enumerate(states.states)
            if given.isdisjoint(state.rows) and state.rows
        ]
        followed = self._followed(changes)
        started = self._taken_up(changes.started, changes.started_prompts)
        rows = list(range(len(prompts) - len(started.conditioning), len(prompts)))
        after, joined = self._placed(rows, prompts, stepped)
        rules = self._by_rules(changes, followed)
        everyone = followed.followed_by(started)
        encoded: dict[int, BucketMemory] = {}
        for index in stepped:
            table, members = after.states[index].table, after.states[index].rows
            if index in joined:
                encoded[index] = self._preflight(everyone.take(members), table, members, prompts)
            elif all(prompts[row] < 0 for row in members):
                encoded[index] = self._as_predicted(followed.take(members), table)
            else:
                encoded[index] = self._as_ruled(rules.take(members), table)
        begun = range(len(states.states), len(after.states))
        fresh = {
            index: self._preflight(
                everyone.take(after.states[index].rows),
                after.states[index].table,
                after.states[index].rows,
                prompts,
            )
            for index in begun
        }
        return Writing(lambda: self._write(after, encoded, fresh))

    def start(self, masks: Tensor, prompt_ids: Sequence[int]) -> Writing:
        """Encode new objects on a frame that is not stepped over now: in states of their own."""
        first = len(self.memories)
        prompts = [0] * first + list(prompt_ids)
        started = self._taken_up(masks, prompt_ids)
        after, _ = self._placed(range(first, len(prompts)), prompts, [])
        fresh = {}
        for index in range(len(self.memories.states.states), len(after.states)):
            state = after.states[index]
            own = started.take([row - first for row in state.rows])
            fresh[index] = self._preflight(own, state.table, state.rows, prompts)
        return Writing(lambda: self._write(after, {}, fresh))

    def _followed(self, changes: FrameChanges) -> Objects:
        """The objects that were there, as predicted, or as a detection has them."""
        said = changes.prediction
        objects = Objects(
            said.low_res_masks.float(),
            said.object_score_logits.float(),
            said.object_pointers.float(),
            np.zeros(len(said), np.bool_),
        )
        for found in (changes.reconditioned, changes.resumed):
            if len(found):
                objects = objects.put(found.rows, self._reconditioned(found, changes.prompt_ids))
        return objects

    def _reconditioned(self, found: FoundMasks, prompt_ids: Sequence[int]) -> Objects:
        return self._taken_up(found.logits, [prompt_ids[row] for row in found.rows])

    def _by_rules(self, changes: FrameChanges, followed: Objects) -> Objects:
        """The same with the masks that the rules have left, without those that lost too much."""
        config = self.memories.model.config
        lost = shrunk(changes.masks, changes.prompt_ids, config.memory_mask_size)
        masks = torch.where(lost[:, None, None], changes.masks.clamp(max=LOST_LOGIT), changes.masks)
        if len(changes.resumed):
            index = torch.tensor(changes.resumed.rows, device=masks.device)
            masks = masks.index_copy(0, index, changes.resumed.logits.to(masks.dtype))
        return replace(followed, masks=masks.float())

    def _taken_up(self, logits: Tensor, prompt_ids: Sequence[int]) -> Objects:
        """Detections as objects take them over."""
        model = self.memories.model
        if not len(logits):
            none = self._nothing()
            return Objects(
                none.low_res_masks.float(),
                none.object_score_logits.float(),
                none.object_pointers.float(),
                np.zeros(0, np.bool_),
            )
        large = resize(logits, model.config.memory_mask_size, antialias=False)
        return self._given((large > 0).float(), prompt_ids)[0]

    def _given(self, masks: Tensor, prompt_ids: Sequence[int]) -> tuple[Objects, MaskletPrediction]:
        """(K, 16h, 16w) masks of 0 and 1 as objects, and the network's answer to them."""
        model = self.memories.model
        said = model.from_masks(self.frame, masks)
        given = as_given(masks, prompt_ids, self.size, model.mask_size)
        objects = Objects(
            given,
            said.object_score_logits.float(),
            said.object_pointers.float(),
            np.ones(len(masks), np.bool_),
        )
        return objects, said

    def _preflight(
        self, objects: Objects, table: SlotTable, rows: Sequence[int], prompts: Sequence[int]
    ) -> BucketMemory:
        """A state's memory of a frame on which objects join it."""
        side = self.memories.model.config.image_size
        masks = resize(objects.masks, (side, side), antialias=False)
        masks = apart(masks, [prompts[row] for row in rows])
        return self._encode(replace(objects, masks=masks), table)

    def _as_predicted(self, objects: Objects, table: SlotTable) -> BucketMemory:
        """A state of objects that a user drew: remembered as they were predicted."""
        side = self.memories.model.config.image_size
        masks = resize(objects.masks, (side, side), antialias=False)
        return self._encode(replace(objects, masks=masks), table)

    def _as_ruled(self, objects: Objects, table: SlotTable) -> BucketMemory:
        """A state of objects that were found: there is an object where its mask is."""
        size = self.memories.model.config.memory_mask_size
        masks = resize(objects.masks, size, antialias=False)
        there = masks.flatten(1).gt(0).any(1)
        scores = torch.where(there, PRESENT_LOGIT, -PRESENT_LOGIT)
        return self._encode(replace(objects, masks=masks, scores=scores), table)

    def _encode(self, objects: Objects, table: SlotTable) -> BucketMemory:
        maps = self.memories.model.encode_memory(
            self.frame, objects.masks, objects.scores, table, objects.conditioning
        )
        return BucketMemory(maps, table.mux(objects.pointers))

    def _placed(
        self, rows: Sequence[int], prompts: Sequence[int], stepped: Sequence[int]
    ) -> tuple[States, set[int]]:
        """Where new objects go.

        Args:
            rows: of the new objects.
            prompts: concepts of all objects.
            stepped: the states that keep a memory of this frame, and so can be joined.

        Returns:
            The states with them, and which of the old ones were joined.
        """
        memories, states = self.memories, self.memories.states
        if not len(rows):
            return states, set()
        if memories.config.isolate_objects:
            for row in rows:
                states = states.begin([row], memories.model.config.num_slots)
            return states, set()
        open_states = [
            index
            for index in stepped
            if not all(prompts[row] < 0 for row in states.states[index].rows)
        ]
        if memories.config.pack_objects:
            states = memories.with_forgotten_slots(open_states)
            parts, left = states.divide(open_states, rows)
        else:
            free = [states.states[index].table.num_free for index in open_states]
            place = state_for(free, len(rows))
            parts = {} if place is None else {open_states[place]: list(rows)}
            left = list(rows) if place is None else []
        for index, some in parts.items():
            states = states.join(index, some)
        if left:
            states = states.begin(left, memories.model.config.num_slots)
        return states, set(parts)

    # ------------------------------------------------------------------- drawing

    def draw(
        self,
        drawn: ObjectPrompt,
        row: int | None,
        *,
        previous: Callable[[], Tensor | None],
        is_first: bool,
    ) -> Drawn:
        """Make an object of what a user drew, or correct one: from clicks alone, as the original.

        An object that shares a bucket gets one of its own, with what the old one remembers of it.
        """
        if drawn.mask is not None:
            size = self.memories.model.config.memory_mask_size
            mask = drawn.mask[None].float().to(self.memories.model.device)
            objects, said = self._given((resize(mask, size, antialias=True) > 0.5).float(), [-1])
        else:
            said = self._clicked(drawn)
            objects = Objects(
                as_clicked(said.low_res_masks, self.size),
                said.object_score_logits.float(),
                said.object_pointers.float(),
                np.ones(1, np.bool_),
            )
        states = self.memories.states
        if row is None:
            new = len(self.memories)
            after = states.begin([new], self.memories.model.config.num_slots)
            fresh = self._preflight(objects, after.states[-1].table, [0], [-1])
            return Drawn(said, Writing(lambda: self._write(after, {}, {len(states.states): fresh})))
        index = states.of_row(row)
        if len(states.states[index].rows) == 1:
            own = self._preflight(objects, states.states[index].table, [0], [-1])
            return Drawn(
                said, Writing(lambda: self._write(states, {index: own}, {}, conditioning=True))
            )
        after, bucket, kept = states.extract(row)
        own = self._preflight(objects, after.states[-1].table, [0], [-1])

        def write() -> None:
            bank = self.memories.bank
            bank.append_copy(bucket)
            self.memories.keep_buckets([*kept, bank.num_rows - 1])
            self._write(after, {len(after.states) - 1: own}, {}, conditioning=True)

        return Drawn(said, Writing(write))

    def _clicked(self, drawn: ObjectPrompt) -> MaskletPrediction:
        """The network's answer to clicks and a box; the corners of a box are two clicks."""
        points, labels = drawn.points, drawn.point_labels
        if drawn.box is not None:
            corners = torch.tensor([TOP_LEFT, BOTTOM_RIGHT], dtype=labels.dtype)
            points = torch.cat((drawn.box.view(2, 2), points))
            labels = torch.cat((corners, labels))
        device, side = self.memories.model.device, self.memories.model.config.image_size
        return self.memories.model.click(
            self.frame, (points * side)[None].to(device), labels[None].to(device)
        )

    # ------------------------------------------------------------------- writing

    def _write(
        self,
        after: States,
        encoded: dict[int, BucketMemory],
        begun: dict[int, BucketMemory],
        *,
        conditioning: bool = False,
    ) -> None:
        """Write a frame down. Room for new buckets comes first: that is what can fail.

        Args:
            after: the states from now on.
            encoded: by state, what states that were there keep of the frame.
            begun: the same of states that begin on it; they come last.
            conditioning: the frame conditions the states that were there, too.
        """
        memories, bank = self.memories, self.memories.bank
        bank.append_rows(sum(len(memory.maps) for memory in begun.values()))
        memories.states = after
        for written, condition in ((begun, True), (encoded, conditioning)):
            for index, memory in written.items():
                bank.write(
                    after.buckets(index),
                    self.frame_index,
                    memory.maps,
                    memory.pointers,
                    conditioning=condition,
                )
        if begun or encoded:
            image = as_tokens(self.frame.propagation.image)[0]
            memories.images[self.frame_index] = image.to(memories.dtype)
        memories.forget_frames()


@dataclass(frozen=True, slots=True)
class Writing:
    """Memories that are computed and not yet kept."""

    write: Callable[[], None]


def _select(answers: Sequence[MaskletPrediction], order: Sequence[int]) -> MaskletPrediction:
    """Some objects out of several answers, counted through."""
    return MaskletPrediction(
        take(torch.cat([answer.low_res_masks for answer in answers]), order),
        take(torch.cat([answer.iou_scores for answer in answers]), order),
        take(torch.cat([answer.object_score_logits for answer in answers]), order),
        take(torch.cat([answer.object_pointers for answer in answers]), order),
    )
