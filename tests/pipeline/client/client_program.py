"""A client in a process of its own, in which torch and Ray cannot be imported.

``python client_program.py URL NAMESPACE SOURCE TEXT [FIELDS]``: runs one session on SOURCE and
prints what it got, a JSON line a frame. FIELDS is a JSON object for ``start_session``.
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.abc import MetaPathFinder
from typing import Any


class Refuse(MetaPathFinder):
    """No torch and no Ray here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in ("torch", "ray"):
            raise ImportError(f"{name} is not to be imported by a client")


sys.meta_path.insert(0, Refuse())

from maskstream.pipeline.client.client import Client  # noqa: E402


def main() -> None:
    url, namespace, source, text = sys.argv[1:5]
    fields = json.loads(sys.argv[5]) if len(sys.argv) > 5 else {}
    with Client(url, namespace=namespace) as client:
        start = {"type": "start_session", "resource_path": source} | fields
        session_id = client.handle_request(start)["session_id"]
        answer = client.handle_request(
            {"type": "add_prompt", "session_id": session_id, "frame_index": 0, "text": text}
        )
        show(answer)
        kind = "stream_results" if fields.get("autostart") else "propagate_in_video"
        for one in client.handle_stream_request({"type": kind, "session_id": session_id}):
            show(one)
        client.handle_request({"type": "close_session", "session_id": session_id})


def show(answer: dict[str, Any]) -> None:
    outputs = answer["outputs"]
    told = {"frame_index": answer["frame_index"]}
    if outputs is not None:
        masks = outputs["out_binary_masks"]
        told |= {
            "ids": outputs["out_obj_ids"].tolist(),
            "labels": outputs["out_labels"],
            "masks": [hashlib.sha256(mask.tobytes()).hexdigest() for mask in masks],
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
