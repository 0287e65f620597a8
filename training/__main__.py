"""Command line of the training, ``python -m training COMMAND``; its README lists the commands."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.config import load_run
from training.demo_clip import CHOSEN_SEED, write_demo
from training.export import export
from training.recipe import follow_recipe, load_recipe, train
from training.tokenizer import fit_tokenizer, save_tokenizer
from training.vocabulary import corpus


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = root.add_subparsers(dest="command", required=True)
    for name in ("detector", "tracker"):
        command = commands.add_parser(name, help=f"train a {name}")
        command.add_argument("--config", type=Path, required=True, help="YAML of the run")
        command.add_argument("--out", type=Path, required=True, help="folder of the run")
        command.add_argument(
            "--warm",
            type=Path,
            nargs="+",
            default=[],
            help="runs of its kind, or checkpoints, to start from: the mean of their parameters",
        )
        if name == "tracker":
            command.add_argument(
                "--detector",
                type=Path,
                required=True,
                help="folder of the detector's run, or a checkpoint",
            )
        else:
            command.set_defaults(detector=None)
        command.add_argument("--resume", action="store_true", help="go on where it stopped")
    command = commands.add_parser("recipe", help="make all runs of a recipe and the checkpoint")
    command.add_argument("--config", type=Path, required=True, help="YAML of the recipe")
    command.add_argument("--runs", type=Path, required=True, help="folder of its runs")
    command.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    command = commands.add_parser("tokenizer", help="fit the tokenizer and write it")
    command.add_argument("--out", type=Path, required=True, help="folder to write to")
    command = commands.add_parser("demo", help="render the demonstration clip and its truth")
    command.add_argument("--out", type=Path, required=True, help="folder to write to")
    command.add_argument("--seed", type=int, default=CHOSEN_SEED)
    command = commands.add_parser("export", help="write a checkpoint folder")
    command.add_argument("--model", type=Path, required=True, help="YAML of the model")
    command.add_argument(
        "--detector", type=Path, help="folder of the detector's run, or a checkpoint"
    )
    command.add_argument(
        "--tracker", type=Path, help="folder of the tracker's run, or a checkpoint"
    )
    command.add_argument("--out", type=Path, required=True, help="folder to write or replace")
    return root


def main() -> None:
    """Run the command."""
    arguments = parser().parse_args()
    if arguments.command == "tokenizer":
        save_tokenizer(fit_tokenizer(corpus()), arguments.out)
    elif arguments.command == "recipe":
        follow_recipe(load_recipe(arguments.config), arguments.runs, arguments.out)
    elif arguments.command == "demo":
        write_demo(arguments.out, arguments.seed)
    elif arguments.command == "export":
        export(arguments.model, arguments.detector, arguments.tracker, arguments.out)
    else:
        train(
            load_run(arguments.config),
            arguments.out,
            resume=arguments.resume,
            warm=tuple(arguments.warm),
            detector=arguments.detector,
        )


if __name__ == "__main__":
    main()
