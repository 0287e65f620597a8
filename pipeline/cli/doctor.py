"""``maskstream doctor``: says what works on this machine, and how to repair what does not."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from maskstream.pipeline.cli.connecting import URL_VARIABLE, add_store_options
from maskstream.pipeline.cli.doctor_checks import Finding, Status, run_checks

_STYLES: dict[Status, str] = {"ok": "green", "note": "yellow", "fault": "bold red"}


def add_doctor_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "doctor",
        help="say what works on this machine, and how to repair what does not",
        description="Look at packages, devices, checkpoint, session store, Ray, memory and disk. "
        "The exit code is 1 when something does not work.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--checkpoint", help="tiny (embedded), a folder, a .pt file or a hub name; default: tiny"
    )
    parser.add_argument(
        "--full", action="store_true", help="also start Ray and load the checkpoint"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_store_options(
        parser, url_help=f"the store to look at; default: ${URL_VARIABLE}, or an embedded server"
    )
    parser.set_defaults(run=doctor)


def doctor(options: Namespace) -> int:
    """Run the command; returns 0 when everything works, otherwise 1."""
    findings = run_checks(options)
    num_faults = sum(finding.status == "fault" for finding in findings)
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings, num_faults)
    return 1 if num_faults else 0


def _print(findings: list[Finding], num_faults: int) -> None:
    console = Console(highlight=False)
    table = Table("", "", "", box=None, show_header=False, pad_edge=False)
    for finding in findings:
        text = Text(finding.found)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="bold" if finding.status == "fault" else "")
        table.add_row(Text(finding.status, style=_STYLES[finding.status]), finding.name, text)
    console.print(table)
    if num_faults:
        console.print(f"{num_faults} {'fault' if num_faults == 1 else 'faults'}; see →")
    else:
        console.print("everything works")
