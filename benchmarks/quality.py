"""Quality on clips that training never draws: phrases in pictures and clips, clicks and boxes.

    python -m benchmarks.quality [--checkpoint …] [--section …] [--reference] [--quick]

Writes tables to ``benchmarks/output/`` beside the same numbers as JSON and a CSV of all names,
and prints them. What is measured and how to read it is said in ``benchmarks/README.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from benchmarks.measure import surroundings
from benchmarks.model import OUTPUT, table
from benchmarks.quality_clicks import NUM_FOLLOWED, click_clips, rows_of_groups
from benchmarks.quality_images import ask, rows_by_language, rows_by_sort, rows_by_threshold
from benchmarks.quality_scenes import SIZE
from benchmarks.quality_systems import Maskstream, System
from benchmarks.quality_video import follow_clips, rows_by_phrase
from benchmarks.quality_vocabulary import (
    best_and_worst,
    curve,
    ranked,
    records_of_names,
    summary,
    write_csv,
)
from maskstream.core.threads import use_threads
from maskstream.pipeline.video.model import VideoModel

SECTIONS = ("images", "video", "clicks")
TITLES = {
    "aims": "Aims",
    "images": "Phrases in pictures",
    "sorts": "The same by what was asked for",
    "points": "The same at other score thresholds",
    "vocabulary": "Names",
    "curve": "Quality against vocabulary",
    "names": "The names that are found best and worst",
    "video": "Phrases in clips",
    "clicks": "Clicks and boxes",
}
Row = dict[str, Any]
T = TypeVar("T")


def told(what: str, items: Iterator[T], every: int) -> list[T]:
    """All items, with a word on standard error now and then."""
    out = []
    for item in items:
        out.append(item)
        if len(out) % every == 0:
            print(f"{what}: {len(out)}", file=sys.stderr, flush=True)
    return out


def images(system: System, given: argparse.Namespace, threshold: float) -> dict[str, list[Row]]:
    """Phrases in pictures; the names go into a CSV of their own."""
    asked = told("phrases", ask(system, given.images), every=500)
    order = ranked(records_of_names(asked, threshold))
    given.out.mkdir(parents=True, exist_ok=True)
    write_csv(given.out / f"{given.stem}-names.csv", order)
    return {
        "images": rows_by_language(asked, threshold),
        "sorts": rows_by_sort(asked, threshold),
        "points": rows_by_threshold(asked),
        "vocabulary": summary(order),
        "curve": curve(order),
        "names": best_and_worst(order),
    }


def shown_from(model: VideoModel) -> float:
    """The score from which on something new is shown, and so all that is found in a picture."""
    return model.config.new_det_thresh


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Run the sections asked for."""
    model = VideoModel.from_checkpoint(given.checkpoint, device=given.device, dtype=given.dtype)
    threshold = shown_from(model)
    results: dict[str, Any] = {
        **surroundings(model.device, model.dtype),
        "checkpoint": given.checkpoint,
        "frame_size": f"{SIZE[1]}×{SIZE[0]}",
        "score_threshold": threshold,
        "num_images": given.images,
        "num_clips": given.clips,
        "num_frames": given.frames,
    }
    system = Maskstream(model)
    if "images" in given.section:
        results |= images(system, given, threshold)
    if "video" in given.section:
        followed = told("phrases followed", follow_clips(system, given.clips, given.frames), 20)
        results["video"] = rows_by_phrase(followed)
    if "clicks" in given.section:
        num_frames = min(NUM_FOLLOWED, given.frames)
        results["clicks"] = rows_of_groups(click_clips(model, given.clips, num_frames))
    if given.reference:
        add_reference(results, model, given)
    return results


def add_reference(results: dict[str, Any], model: VideoModel, given: argparse.Namespace) -> None:
    """The rows of transformers, with the same weights, below those of this project.

    Between them, for clips, those of this project with the options that transformers runs with.
    """
    # Imported here: transformers is a development extra.
    from benchmarks.quality_reference import Transformers, with_its_options

    threshold = shown_from(model)
    others: dict[str, System] = {"transformers": Transformers(model)}
    for name in ("images", "video"):
        if name not in results:
            continue
        rows = [{"system": "maskstream", **row} for row in results[name]]
        if name == "video":
            others = {"maskstream, its options": Maskstream(with_its_options(model)), **others}
        for title, system in others.items():
            if name == "images":
                asked = told(f"phrases, {title}", ask(system, given.images), 500)
                more = rows_by_language(asked, threshold)
            else:
                clips = follow_clips(system, given.clips, given.frames)
                more = rows_by_phrase(told(f"phrases followed, {title}", clips, 20))
            rows += [{"system": title, **row} for row in more]
        results[name] = rows


def aims(results: dict[str, Any]) -> list[Row]:
    """What was to be reached, and what was."""
    rows = []
    for what, section, column, aim, at_least in (
        ("cgF1", "images", "cgF1", 65.0, True),
        ("false alarms on absent concepts, %", "images", "false_alarms_%", 3.0, False),
        ("HOTA", "video", "HOTA", 70.0, True),
        ("IoU after one click on unseen textures", "clicks", "IoU_after_1_click", 0.8, True),
    ):
        if results.get(section):
            seen = results[section][0][column]
            reached = seen is not None and (seen >= aim if at_least else seen <= aim)
            bar = f"{'≥' if at_least else '≤'} {aim:g}"
            rows.append({"what": what, "aim": bar, "seen": seen, "reached": reached})
    return rows


def report(results: dict[str, Any]) -> str:
    """The tables with what was measured where."""
    facts = {key: value for key, value in results.items() if key not in TITLES}
    parts = [", ".join(f"{key.replace('_', ' ')} {value}" for key, value in facts.items())]
    for name, title in TITLES.items():
        if results.get(name):
            parts.append(f"### {title}\n\n{table([_shown(row) for row in results[name]])}")
    return "\n\n".join(parts) + "\n"


def _shown(row: Row) -> Row:
    words = {None: "–", True: "yes", False: "no"}
    return {
        name: words[value] if value is None or isinstance(value, bool) else value
        for name, value in row.items()
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line, with what was not said filled in."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality")
    parser.add_argument("--checkpoint", default="tiny", help="as for the command maskstream")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--section", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--images", type=int, help="pictures that phrases are asked of")
    parser.add_argument("--clips", type=int, help="clips that phrases, and clicks, are followed in")
    parser.add_argument("--frames", type=int, help="frames of a clip")
    parser.add_argument("--reference", action="store_true", help="transformers beside it")
    parser.add_argument("--quick", action="store_true", help="just enough to see that it runs")
    parser.add_argument("--out", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    given.images = given.images or (6 if given.quick else 1000)
    given.clips = given.clips or (2 if given.quick else 40)
    given.frames = given.frames or (12 if given.quick else 60)
    given.stem = f"quality-{Path(given.checkpoint).name}" + "-quick" * given.quick
    return given


def main() -> None:
    """Measure, print and save."""
    given = parse()
    use_threads(given.threads)
    results = measure(given)
    results["aims"] = aims(results)
    text = report(results)
    given.out.mkdir(parents=True, exist_ok=True)
    encoded = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    (given.out / f"{given.stem}.json").write_text(encoded, encoding="utf-8")
    (given.out / f"{given.stem}.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
