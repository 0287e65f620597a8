"""Training of a detector on generated frames."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskstream.detector.config import DetectorConfig
from maskstream.detector.model import Detector, DetectorOutput
from training.alignment import AlignmentHead, spoken
from training.config import RunConfig, Stage, read_yaml
from training.data import BatchPlan, DetectorBatch, batches
from training.dense import DenseHead
from training.evaluate_detector import concepts_of, evaluate
from training.initialise import initialise_detector
from training.losses import detector_losses
from training.parallel import Team, take_step
from training.state import Averaged, RunLog, load_state, save_state, warm_start
from training.tokenizer import load_fitted

VALIDATION_IMAGES = 8
VALIDATION_TEXTS = 128


def learning_rate(stage: Stage, step: int, warmup_steps: int) -> float:
    """Cosine from the stage's peak to its end, after a linear warm-up."""
    warm = min(1.0, (step + 1) / warmup_steps)
    progress = step / stage.steps
    span = stage.peak_lr - stage.final_lr
    return warm * (stage.final_lr + span * 0.5 * (1 + math.cos(math.pi * progress)))


class ReadOuts(nn.Module):
    """What is trained beside the detector and thrown away afterwards."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = DenseHead(hidden_size)
        self.alignment = AlignmentHead()


def parameter_groups(
    model: Detector, readouts: ReadOuts, config: RunConfig
) -> list[dict[str, object]]:
    """Groups with and without weight decay, encoder and rest; ``factor`` scales the rate."""
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    for name, parameter in [*model.named_parameters(), *readouts.named_parameters()]:
        if parameter.requires_grad:
            encoder = name.startswith("vision_encoder")
            key = (encoder, parameter.ndim > 1 and "embed" not in name)
            groups.setdefault(key, []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "factor": config.encoder_lr_factor if encoder else 1.0,
        }
        for (encoder, decayed), parameters in groups.items()
    ]


def in_float(output: DetectorOutput) -> DetectorOutput:
    """The output in float32, as losses want it."""
    return DetectorOutput(
        output.logits.float(),
        output.boxes.float(),
        output.presence_logits.float(),
        output.queries.float(),
        output.pixels.float(),
        None if output.many is None else in_float(output.many),
    )


@dataclass(slots=True)
class DetectorTrainer:
    """A run in progress."""

    config: RunConfig
    out: Path
    model: Detector
    readouts: ReadOuts
    optimizer: torch.optim.Optimizer
    average: Averaged
    tokenizer: Tokenizer
    log: RunLog
    team: Team
    step: int = 0

    @classmethod
    def start(
        cls, config: RunConfig, out: Path, team: Team, *, resume: bool, warm: Sequence[Path] = ()
    ) -> DetectorTrainer:
        """A fresh run in the folder ``out``, or the one that stopped there.

        A fresh one takes the averaged parameters of the runs ``warm``, where any are given, in the
        mean.
        """
        torch.manual_seed(config.seed)
        settings = read_yaml(Path(config.model))["detector_config"]
        model = Detector(DetectorConfig.from_dict(settings))
        initialise_detector(model)
        device = config.torch_device
        model.tracker_neck.requires_grad_(False)
        readouts = ReadOuts(model.config.hidden_size)
        if warm:
            warm_start(warm, model)
            warm_start(warm, readouts, prefix="readouts:")
        model, readouts = model.to(device), readouts.to(device)
        groups = parameter_groups(model, readouts, config)
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        average = Averaged.of(model, config.ema_decay)
        tokenizer = load_fitted()
        log = RunLog(out / "log.jsonl")
        trainer = cls(config, out, model, readouts, optimizer, average, tokenizer, log, team)
        if resume:
            trainer.step = load_state(out, trainer._modules(), optimizer, average)
        return trainer

    def _modules(self) -> dict[str, nn.Module]:
        return {"model": self.model, "readouts": self.readouts}

    def run(self) -> None:
        """Train to the end of the last stage."""
        self.model.train()
        while self.step < self.config.total_steps:
            index, done = self.config.stage_at(self.step)
            self._run_stage(index, done)
        if self.team.rank == 0:
            self._save()

    def _plan(self, index: int, done: int) -> BatchPlan:
        stage = self.config.stages[index]
        return BatchPlan(
            side=stage.side,
            images=stage.images,
            concepts=stage.concepts,
            exemplar_rate=self.config.exemplar_rate,
            texts=stage.texts,
            split="train",
            # Stages draw from ranges of clips far apart.
            first=index * 1_000_000 + done * self.team.size + self.team.rank,
            count=stage.steps - done,
            stride=self.team.size,
        )

    def _run_stage(self, index: int, done: int) -> None:
        stage = self.config.stages[index]
        self.model.vision_encoder.backbone.requires_grad_(not stage.freeze_backbone)
        began, last = time.perf_counter(), self.step
        device = self.config.torch_device
        for drawn in batches(self._plan(index, done), self.tokenizer):
            batch = drawn.to(device)
            rate = learning_rate(stage, done, self.config.warmup_steps)
            losses = self.train_step(batch, rate, dense_only=stage.dense_only)
            done += 1
            if self.team.rank:
                continue
            if self.step % self.config.log_every == 0:
                seconds = (time.perf_counter() - began) / (self.step - last)
                began, last = time.perf_counter(), self.step
                self.log.write({"step": self.step, "lr": rate, "step_s": seconds, **losses})
            if self.step % self.config.save_every == 0:
                self._save()
            if self.step % self.config.validate_every == 0:
                self.validate(stage)
                began, last = time.perf_counter(), self.step

    def losses(self, batch: DetectorBatch, *, dense_only: bool) -> dict[str, Tensor]:
        """Weighted loss terms by name."""
        # Without the fused kernel: its bfloat16 backward pass is slow for narrow heads on CPUs.
        with (
            torch.autocast(batch.pixels.device.type, torch.bfloat16, enabled=self.config.autocasts),
            sdpa_kernel(SDPBackend.MATH),
        ):
            levels, output = self._encoded(batch) if dense_only else self._predicted(batch)
            texts = None
            if len(batch.text_ids):
                texts = spoken(self.model, batch.text_ids, batch.text_lengths).float()
        levels = tuple(level.float() for level in levels)
        losses: dict[str, Tensor] = {}
        share = 1.0 if output is None else self.config.dense_weight
        if share:
            losses["dense"] = share * self.readouts.dense(levels, batch)
        if texts is not None:
            losses["alignment"] = self.readouts.alignment(levels[-1], texts, batch)
        if output is not None:
            losses |= detector_losses(self.model, in_float(output), batch, self.config.loss)
        return losses

    def _encoded(self, batch: DetectorBatch) -> tuple[tuple[Tensor, ...], None]:
        """The two coarser levels alone; the finest costs as much as the whole encoder."""
        encoder = self.model.vision_encoder
        grid = encoder.backbone(batch.to_float())
        return tuple(level(grid) for level in encoder.neck.fpn_layers[1:3]), None

    def _predicted(self, batch: DetectorBatch) -> tuple[tuple[Tensor, ...], DetectorOutput]:
        features = self.model.encode_image(batch.to_float())
        return features.levels, self.model(features, concepts_of(self.model, batch))

    def train_step(
        self, batch: DetectorBatch, rate: float, *, dense_only: bool = False
    ) -> dict[str, float]:
        """One optimiser step; returns the loss and its terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        losses = self.losses(batch, dense_only=dense_only)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = take_step(self.optimizer, self.team, self.config.max_grad_norm)
        self.step += 1
        self.average.update(self.model, self.step)
        terms = {name: float(term.detach()) for name, term in losses.items()}
        return {"loss": float(total.detach()), "grad_norm": norm, **terms}

    def averaged_model(self) -> Detector:
        """A copy that holds the averaged parameters, in evaluation mode."""
        model = copy.deepcopy(self.model).eval()
        model.load_state_dict(self.average.values, strict=False)
        return model

    def validate(self, stage: Stage) -> dict[str, float]:
        """Metrics of the averaged model on validation clips, logged."""
        model = self.averaged_model()
        if stage.dense_only:
            metrics = self._validate_encoder(model, stage)
        else:
            metrics = evaluate(model, self._validation(stage))
        self.log.write({"step": self.step, "validation": stage.side, **metrics})
        return metrics

    @torch.no_grad()
    def _validate_encoder(self, model: Detector, stage: Stage) -> dict[str, float]:
        """How many cells' colour and kind are read off rightly, and how many find their text."""
        seen = []
        for batch in self._validation(stage):
            levels = model.encode_image(batch.to_float()).levels
            texts = spoken(model, batch.text_ids, batch.text_lengths)
            told = self.readouts.alignment.accuracy(levels[-1], texts, batch)
            seen.append((*self.readouts.dense.accuracy(levels, batch), told))
        color, kind, text = torch.tensor(seen).nanmean(0).tolist()
        return {"color_accuracy": color, "kind_accuracy": kind, "text_accuracy": text}

    def _validation(self, stage: Stage) -> Iterator[DetectorBatch]:
        plan = BatchPlan(
            side=stage.side,
            images=VALIDATION_IMAGES,
            concepts=4,
            exemplar_rate=self.config.exemplar_rate,
            split="validation",
            first=0,
            count=self.config.validation_batches,
            texts=VALIDATION_TEXTS,
        )
        device = self.config.torch_device
        return (batch.to(device) for batch in batches(plan, self.tokenizer))

    def _save(self) -> None:
        save_state(self.out, self.step, self._modules(), self.optimizer, self.average)


@dataclass(frozen=True, slots=True)
class DetectorWork:
    """One process's part of a detector run."""

    config: RunConfig
    out: Path
    resume: bool
    warm: tuple[Path, ...] = ()

    def __call__(self, team: Team) -> None:
        DetectorTrainer.start(self.config, self.out, team, resume=self.resume, warm=self.warm).run()
