from __future__ import annotations

import torch

from detector.model import Detector
from tests.training.small import SIDE, small_detector_config
from training.initialise import initialise_detector
from training.tokenizer import fit_tokenizer
from training.vocabulary import HELD_OUT, TRAIN_PAIRS, Concept, corpus
from training.words import concept_targets, exemplar_tokens, teach_words

TOKENIZER = fit_tokenizer(corpus())


def test_targets_are_means_over_the_pairs_a_concept_covers() -> None:
    tokens = {pair: (torch.full((3,), float(i)), 1) for i, pair in enumerate(TRAIN_PAIRS)}
    targets = dict(concept_targets(tokens))
    red = [float(i) for i, (color, _) in enumerate(TRAIN_PAIRS) if color == "red"]
    assert targets[Concept("red", None)].tolist() == [sum(red) / len(red)] * 3
    assert not any((concept.color, concept.shape) in HELD_OUT for concept in targets)
    assert Concept(None, None) not in targets


def test_only_the_text_encoder_learns_and_words_come_near_exemplars() -> None:
    model = Detector(small_detector_config(TOKENIZER.get_vocab_size()))
    initialise_detector(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    first, last = teach_words(model, TOKENIZER, num_frames=12, num_steps=40, side=SIDE)
    assert last < 0.7 * first
    for name, parameter in model.named_parameters():
        if not name.startswith("text_"):
            assert torch.equal(parameter, before[name]), name


def test_exemplars_are_counted_by_pair() -> None:
    model = Detector(small_detector_config(TOKENIZER.get_vocab_size())).eval()
    tokens = exemplar_tokens(model, num_frames=12, side=SIDE)
    assert set(tokens) <= set(TRAIN_PAIRS)
    assert sum(count for _, count in tokens.values()) >= 12
    assert all(token.isfinite().all() for token, _ in tokens.values())
