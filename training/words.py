"""Teaching words what exemplars already say.

A box on a red circle and the words "red circle" ask for the same, but the box brings the picture's
own features with it and is understood many times sooner. So, once exemplars work, the text encoder
alone is fitted to give, for every wording of a concept, the prompt tokens that exemplars of the
concept have on average. From there training goes on as before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from detector.config import DetectorConfig
from detector.model import Detector
from detector.prompts import Exemplars, GeometryPrompts
from training.data import sample_frame
from training.export import load_averaged
from training.state import STATE_FILE
from training.tokenizer import encode, fit_tokenizer
from training.vocabulary import (
    ABSENT_COLORS,
    ABSENT_NOUNS,
    GENERIC,
    VISUAL,
    Concept,
    all_concepts,
    corpus,
    phrasings,
)

LEARNING_RATE = 1e-3
# Clips far from those that the detector is trained on.
FIRST_SEED = 50_000_000


@torch.no_grad()
def exemplar_tokens(
    model: Detector, num_frames: int, side: int
) -> dict[tuple[str, str], tuple[Tensor, int]]:
    """Mean prompt token of boxes on objects of each colour-shape pair, and how many there were."""
    sums: dict[tuple[str, str], Tensor] = defaultdict(lambda: torch.zeros(model.config.hidden_size))
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for seed in range(FIRST_SEED, FIRST_SEED + num_frames):
        frame = sample_frame(seed, side, "train")
        chosen = frame.usable.nonzero()[0]
        if not len(chosen):
            continue
        pixels = torch.from_numpy(frame.image).permute(2, 0, 1)[None].float() / 127.5 - 1.0
        coarse = model.encode_image(pixels).levels[-1]
        boxes = torch.from_numpy(frame.boxes[chosen])[:, None]
        labels = torch.ones(boxes.shape[:2], dtype=torch.int64)
        shown = GeometryPrompts(boxes=Exemplars(boxes, labels, labels.bool()))
        tokens, _ = model.geometry_encoder(
            shown, coarse.expand(len(chosen), -1, -1, -1), model._position(coarse)
        )
        for index, token in zip(chosen, tokens[:, 0], strict=True):
            pair = (frame.colors[index], frame.shapes[index])
            sums[pair] += token
            counts[pair] += 1
    return {pair: (sums[pair] / counts[pair], counts[pair]) for pair in sums}


def concept_targets(
    tokens: dict[tuple[str, str], tuple[Tensor, int]],
) -> list[tuple[Concept, Tensor]]:
    """What each nameable concept's words should become: the mean over the pairs it covers."""
    targets = []
    for concept in all_concepts(held_out=False):
        covered = [token for pair, (token, _) in tokens.items() if concept.matches(*pair)]
        if covered and (concept.color or concept.shape):
            targets.append((concept, torch.stack(covered).mean(0)))
    return targets


def unchanged_texts() -> list[str]:
    """Texts that are understood as they are: nothing known, no words, everything."""
    texts = [VISUAL, *ABSENT_NOUNS, *ABSENT_COLORS]
    texts += [f"{color} {noun}" for color in ABSENT_COLORS for noun in GENERIC]
    return texts + phrasings(Concept(None, None))


def teach_words(
    model: Detector, tokenizer: Tokenizer, *, num_frames: int, num_steps: int, side: int
) -> tuple[float, float]:
    """Fit the text encoder, and nothing else.

    The last word and the end token are fitted: they alone have seen the whole text.

    Returns:
        Mean squared error over named concepts, before and after.
    """
    model.eval()
    targets = concept_targets(exemplar_tokens(model, num_frames, side))
    texts, wanted = [], []
    for concept, target in targets:
        for text in phrasings(concept):
            texts.append(text)
            wanted.append(target)
    kept = unchanged_texts()
    ids, lengths = _encoded(tokenizer, texts)
    kept_ids, kept_lengths = _encoded(tokenizer, kept)
    goal = torch.stack(wanted)
    with torch.no_grad():
        kept_goal = _last_two(model, kept_ids, kept_lengths)
    parts = [model.text_encoder, model.text_projection]
    parameters = [p for part in parts for p in part.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)
    errors = []
    for step in range(num_steps):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (1 - step / num_steps)
        error = functional.mse_loss(_last_two(model, ids, lengths), goal[:, None].expand(-1, 2, -1))
        drift = functional.mse_loss(_last_two(model, kept_ids, kept_lengths), kept_goal)
        optimizer.zero_grad()
        (error + drift).backward()
        optimizer.step()
        errors.append(float(error.detach()))
    model.train()
    return errors[0], errors[-1]


def _encoded(tokenizer: Tokenizer, texts: list[str]) -> tuple[Tensor, Tensor]:
    ids, masks = encode(tokenizer, texts)
    lengths = torch.tensor(masks).sum(1)
    return torch.tensor(ids)[:, : int(lengths.max())], lengths


def _last_two(model: Detector, ids: Tensor, lengths: Tensor) -> Tensor:
    """Features of each text's last word and of its end token, (K, 2, C)."""
    tokens = model.encode_text(ids, torch.ones_like(ids)).tokens
    places = torch.stack((lengths - 2, lengths - 1), 1)
    return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))


def teach_run(
    settings: Mapping[str, Any], run: Path, out: Path, *, num_frames: int, num_steps: int
) -> tuple[float, float]:
    """Teach the averaged model of a run its words; ``out`` is for another run to start from.

    Args:
        settings: the model's YAML.
        run: folder of the run.
        out: folder to write the state to.
        num_frames: frames to see exemplars in.
        num_steps: steps of fitting.

    Returns:
        Mean squared error before and after.
    """
    model = Detector(DetectorConfig.from_dict(settings["detector_config"]))
    load_averaged(model, run)
    side = model.config.image_size // 2
    errors = teach_words(
        model, fit_tokenizer(corpus()), num_frames=num_frames, num_steps=num_steps, side=side
    )
    tensors = {
        name: tensor
        for name, tensor in load_file(run / STATE_FILE).items()
        if not name.startswith(("model:", "optimizer."))
    }
    tensors |= {f"average:{name}": value.detach() for name, value in model.named_parameters()}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / STATE_FILE)
    return errors
