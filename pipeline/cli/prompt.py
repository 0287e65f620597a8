"""``maskstream prompt``: prompts a running session, removes prompts, pauses it, ends it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

from maskstream.core.errors import InputError
from maskstream.pipeline.api.commands import AddConcept, AddObject
from maskstream.pipeline.api.outcomes import PromptDetail
from maskstream.pipeline.cli.arguments import count
from maskstream.pipeline.cli.connecting import (
    add_store_options,
    frame_size,
    newest_record,
    open_client,
)
from maskstream.pipeline.cli.figures import num_objects
from maskstream.pipeline.cli.summary import RunSummary
from maskstream.pipeline.cli.typed_prompts import (
    TypedPrompt,
    add_prompt_options,
    needs_frame_size,
    parse_prompts,
)
from maskstream.pipeline.client.answers import result_of
from maskstream.pipeline.client.client import Client
from maskstream.pipeline.client.result_reader import checked_detail
from maskstream.pipeline.store.records import EntryKind

_CONTROLS = {
    "pause": ("pause_session", "take no more frames until --resume"),
    "resume": ("resume_session", "go on after --pause"),
    "cancel": ("cancel_propagation", "stop a propagation, or end a session that runs by itself"),
    "reset": ("reset_session", "forget all prompts and objects"),
}


def add_prompt_parser(commands: Any) -> None:
    """Define the command's options."""
    parser: ArgumentParser = commands.add_parser(
        "prompt",
        help="prompt a running session, pause it, end it",
        description="Add prompts to a running session, remove prompts, pause the session or stop "
        "it. Objects that are tracked already are not disturbed. Coordinates are normalised "
        "unless --pixels is given.",
        allow_abbrev=False,
    )
    parser.add_argument("session", metavar="SESSION", help="the id of the session")
    add_prompt_options(parser)
    parser.add_argument(
        "--obj-id", type=count, metavar="N", help="the id of the object to refine, or for a new one"
    )
    group = parser.add_argument_group("changes")
    group.add_argument("--remove-prompt", type=count, action="append", default=[], metavar="ID")
    group.add_argument("--remove-object", type=count, action="append", default=[], metavar="ID")
    for name, (_, text) in _CONTROLS.items():
        group.add_argument(f"--{name}", action="store_true", help=text)
    add_store_options(parser)
    parser.set_defaults(run=prompt)


def prompt(options: Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        MaskstreamError: an option cannot be used, or the session has rejected it. The options
            before it have been applied, and this was printed.
    """
    with open_client(options) as client:
        asked = False
        if options.prompts:
            asked = True
            width, height = _size(client, options)
            prompts = parse_prompts(options, width, height)
            send_prompts(client, options.session, prompts, obj_id=options.obj_id)
        for request, told in _changes(options):
            asked = True
            answer = client.handle_request(request)
            if answer.get("kept_away"):
                told += ", which is kept away while it is in view"
            print(told if answer["is_success"] else f"{told}: nothing to do")
        if not asked:
            raise InputError(
                "nothing to do: give --text, --exemplar, --point, --box, --mask, --remove-prompt, "
                f"--remove-object, or one of {', '.join('--' + name for name in _CONTROLS)}"
            )
    return 0


def send_prompts(
    client: Client,
    session_id: str,
    prompts: list[TypedPrompt],
    *,
    obj_id: int | None = None,
    first_frame: int | None = None,
    summary: RunSummary | None = None,
) -> None:
    """Send prompts one after the other, and print the outcome of each.

    Args:
        obj_id: the object that points, boxes and masks refine; None: each makes a new object.
        first_frame: the frame of prompts that name none; None: the newest frame with a result.
        summary: notes what was asked for.

    Raises:
        InputError: the session has rejected a prompt; the message names it.
    """
    if first_frame is None:
        record = newest_record(client, session_id)
        first_frame = 0 if record is None else int(record["frame_index"])
    for item in prompts:
        try:
            outcome = client.journal.apply(session_id, *_entry(item.command, first_frame, obj_id))
        except InputError as error:
            raise InputError(f"{item.typed}: {error}") from error
        detail = checked_detail(PromptDetail, outcome.detail, "an outcome")
        what = (
            f"object {detail.obj_id}" if detail.prompt_id is None else f"concept {detail.prompt_id}"
        )
        for warning in detail.warnings:
            print(f"warning: {item.typed}: {warning}", flush=True)
        if summary is not None and detail.prompt_id is not None:
            summary.ask_for_concept(item.typed, detail.prompt_id)
        elif summary is not None and detail.obj_id is not None:
            summary.ask_for_object(item.typed, detail.obj_id, detail.warnings)
        found = "" if detail.record is None else f", {num_objects(len(result_of(detail.record)))}"
        where = f"from frame {outcome.frame_index} on"
        print(f"{item.typed}: {what} {where}{found}{' there' if found else ''}", flush=True)


def _entry(
    command: AddConcept | AddObject, first_frame: int, obj_id: int | None
) -> tuple[EntryKind, AddConcept | AddObject]:
    """A prompt as an entry of the journal: its kind and its command.

    A request must give an object its id. Here it may be None, and the runtime picks one, because
    only the runtime knows which ids are taken.
    """
    index = first_frame if command.frame_index is None else command.frame_index
    if isinstance(command, AddConcept):
        return "add_concept", command.model_copy(update={"frame_index": index})
    return "add_object", command.model_copy(update={"frame_index": index, "obj_id": obj_id})


def _changes(options: Namespace) -> Iterator[tuple[dict[str, Any], str]]:
    session_id = options.session
    for prompt_id in options.remove_prompt:
        request = {"type": "remove_prompt", "session_id": session_id, "prompt_id": prompt_id}
        yield request, f"removed concept {prompt_id}"
    for obj_id in options.remove_object:
        request = {"type": "remove_object", "session_id": session_id, "obj_id": obj_id}
        yield request, f"removed object {obj_id}"
    for name, (kind, _) in _CONTROLS.items():
        if getattr(options, name):
            yield {"type": kind, "session_id": session_id}, name


def _size(client: Client, options: Namespace) -> tuple[int, int]:
    """(width, height) of the frames. Only pixels and masks need it; otherwise it is 1, 1."""
    return frame_size(client, options.session) if needs_frame_size(options) else (1, 1)
