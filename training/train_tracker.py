"""Training of the tracker and its neck on clips; the image encoder stays as it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from maskstream.detector.model import Detector
from maskstream.tracker.network.model import TrackerModel
from training.clips import ClipPlan, TrackedClip, make_tracked_clip
from training.config import RunConfig, Stage, read_yaml
from training.evaluate_tracker import evaluate_prompts, evaluate_tracker
from training.export import build_models, load_averaged
from training.initialise import start_tracker_neck
from training.parallel import Team, take_step
from training.rollout import Rollout, tracker_at
from training.state import Averaged, RunLog, load_state, save_state, warm_start
from training.tracker_losses import frame_losses
from training.train_detector import learning_rate

VALIDATION_OBJECTS = 4
VALIDATION_FRAMES = 20


class TrackerParts(nn.Module):
    """What is trained: the tracker and its branch of the neck."""

    def __init__(self, tracker: TrackerModel, neck: nn.Module) -> None:
        super().__init__()
        self.tracker = tracker
        self.neck = neck


@dataclass(slots=True)
class TrackerTrainer:
    """A run in progress."""

    config: RunConfig
    out: Path
    detector: Detector
    parts: TrackerParts
    optimizer: torch.optim.Optimizer
    average: Averaged
    log: RunLog
    team: Team
    step: int = 0

    @classmethod
    def start(
        cls,
        config: RunConfig,
        detector_run: Path,
        out: Path,
        team: Team,
        *,
        resume: bool,
        warm: Sequence[Path] = (),
    ) -> TrackerTrainer:
        """A fresh run in ``out`` on the detector of ``detector_run``, or the one stopped there.

        A fresh one takes the averaged parameters of the trackers' runs ``warm``, where any are
        given, in the mean: their detector may have been trained on since.
        """
        detector, tracker = build_models(read_yaml(Path(config.model)))
        load_averaged(detector, detector_run)
        detector.eval().requires_grad_(False)
        device = config.torch_device
        # The detector's neck, trained already, is a good start for the tracker's.
        sample = make_tracked_clip(1, config.stages[0].side, 8, 1, "train").to_float()
        start_tracker_neck(detector, sample)
        detector.tracker_neck.requires_grad_(True)
        torch.manual_seed(config.seed)
        detector.to(device)
        parts = TrackerParts(tracker.to(device), detector.tracker_neck).train()
        if warm:
            warm_start(warm, parts)
        decayed = [p for p in parts.parameters() if p.ndim > 1]
        rest = [p for p in parts.parameters() if p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": config.weight_decay},
                {"params": rest, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        average = Averaged.of(parts, config.ema_decay)
        log = RunLog(out / "log.jsonl")
        trainer = cls(config, out, detector, parts, optimizer, average, log, team)
        if resume:
            trainer.step = load_state(out, {"model": parts}, optimizer, average)
        return trainer

    def run(self) -> None:
        """Train to the end of the last stage."""
        while self.step < self.config.total_steps:
            index, done = self.config.stage_at(self.step)
            self._run_stage(index, done)
        if self.team.rank == 0:
            self._save()

    def _run_stage(self, index: int, done: int) -> None:
        stage = self.config.stages[index]
        device = self.config.torch_device
        self.parts.neck.requires_grad_(not stage.freeze_neck)
        model = tracker_at(self.parts.tracker, stage.side)
        began, last = time.perf_counter(), self.step
        while done < stage.steps:
            first = (index * 1_000_000 + done * self.team.size + self.team.rank) * stage.images
            clips = [_clip(first + i, stage).to(device) for i in range(stage.images)]
            rate = learning_rate(stage, done, self.config.warmup_steps)
            losses = self.train_step(model, clips, rate, stage)
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
                self.validate(stage.side)
                began, last = time.perf_counter(), self.step

    def train_step(
        self,
        model: TrackerModel,
        clips: list[TrackedClip],
        rate: float,
        stage: Stage,
    ) -> dict[str, float]:
        """One optimiser step; returns the loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        terms: dict[str, float] = {}
        for number, clip in enumerate(clips):
            if not clip.coverage.shape[1]:
                continue
            losses = self._clip_losses(model, clip, number, stage)
            total = torch.stack(list(losses.values())).sum() / len(clips)
            total.backward()
            for name, term in losses.items():
                terms[name] = terms.get(name, 0.0) + float(term.detach()) / len(clips)
        norm = take_step(self.optimizer, self.team, self.config.max_grad_norm)
        self.step += 1
        self.average.update(self.parts, self.step)
        return {"loss": sum(terms.values()), "grad_norm": norm, **terms}

    def _clip_losses(
        self, model: TrackerModel, clip: TrackedClip, number: int, stage: Stage
    ) -> dict[str, Tensor]:
        seed = (self.step * 97 + number) * self.team.size + self.team.rank
        rollout = Rollout(
            model,
            torch.Generator().manual_seed(seed),
            stage.prompts,
            stage.correction_rate,
            stage.center_rate,
        )
        with (
            torch.autocast(clip.pixels.device.type, torch.bfloat16, enabled=self.config.autocasts),
            sdpa_kernel(SDPBackend.MATH),
        ):
            with torch.no_grad():
                grid = self.detector.vision_encoder.backbone(clip.to_float())
            levels = tuple(level.float() for level in self.parts.neck(grid))
            outcomes = rollout.run(levels, clip.coverage, clip.boxes)
        frames = [
            frame_losses(outcome, clip.coverage[t], self.config.tracker_loss)
            for t, outcome in outcomes
        ]
        return {name: torch.stack([frame[name] for frame in frames]).mean() for name in frames[0]}

    def validate(self, side: int) -> dict[str, float]:
        """Metrics of the averaged tracker on validation clips, logged."""
        current = {name: p.detach().clone() for name, p in self.parts.named_parameters()}
        self.parts.load_state_dict(self.average.values, strict=False)
        plan = ClipPlan(
            side=side,
            num_frames=VALIDATION_FRAMES,
            max_objects=VALIDATION_OBJECTS,
            split="validation",
            first=0,
            count=self.config.validation_batches,
        )
        model = tracker_at(self.parts.tracker, side)
        metrics = evaluate_tracker(self.detector, model, plan)
        metrics |= evaluate_prompts(self.detector, model, plan)
        self.parts.load_state_dict(current, strict=False)
        self.log.write({"step": self.step, "validation": side, **metrics})
        return metrics

    def _save(self) -> None:
        save_state(self.out, self.step, {"model": self.parts}, self.optimizer, self.average)


def _clip(number: int, stage: Stage) -> TrackedClip:
    return make_tracked_clip(
        number,
        stage.side,
        stage.frames,
        stage.objects,
        "train",
        hiding_rate=stage.hiding_rate,
        nameless_rate=stage.nameless_rate,
    )


@dataclass(frozen=True, slots=True)
class TrackerWork:
    """One process's part of a tracker run."""

    config: RunConfig
    detector_run: Path
    out: Path
    resume: bool
    warm: tuple[Path, ...] = ()

    def __call__(self, team: Team) -> None:
        TrackerTrainer.start(
            self.config,
            self.detector_run,
            self.out,
            team,
            resume=self.resume,
            warm=self.warm,
        ).run()
