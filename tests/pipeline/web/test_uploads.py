"""Uploads: whole or not at all, in the caller's own folder, under a harmless name."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.clips import write_numbered_clip
from tests.pipeline.web.stack import Stack, start, web_stack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def stack(folder: Path) -> Iterator[Stack]:
    with web_stack(uploads=folder, max_upload_bytes=100_000, request_timeout_s=1.0) as stack:
        yield stack


def test_a_file_is_uploaded_and_played(stack: Stack, folder: Path, tmp_path: Path) -> None:
    clip = write_numbered_clip(tmp_path / "clip.mp4", 4)
    with stack.http() as http:
        answer = http.put("/v1/uploads/my clip ☕.mp4", content=clip.read_bytes())
        assert answer.status_code == 201
        path = Path(answer.json()["resource_path"])
        assert path.read_bytes() == clip.read_bytes()
        assert folder in path.parents
        assert path.name.endswith("-my_clip__.mp4")
        start(http, path)


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("a.mp4", b"", 400),
        ("a.mp4", b"x" * 100_001, 413),
        ("a.m3u8", b"x", 415),
        ("a.ffconcat", b"x", 415),
        ("a", b"x", 415),
        ("a.exe", b"x", 415),
    ],
)
def test_what_is_refused_leaves_nothing(
    stack: Stack, folder: Path, name: str, content: bytes, status: int
) -> None:
    with stack.http() as http:
        assert http.put(f"/v1/uploads/{name}", content=iter([content])).status_code == status
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fx.mp4", "%2Fetc%2Fx.mp4", "..mp4", "a\\b.mp4"])
def test_a_name_leads_nowhere(stack: Stack, folder: Path, name: str) -> None:
    with stack.http() as http:
        answer = http.put(f"/v1/uploads/{name}", content=b"x")
    if answer.status_code == 201:
        path = Path(answer.json()["resource_path"])
        assert path.parent.parent == folder
        assert path.resolve() == path
    assert all(folder in path.parents for path in folder.rglob("*"))


def test_an_upload_that_is_cut_off_leaves_nothing(stack: Stack, folder: Path) -> None:
    head = b"PUT /v1/uploads/a.mp4 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.server.port), 60) as connection:
        connection.sendall(head + b"x" * 1000)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until it is given up
    assert b" 408 " in answer.splitlines()[0]
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_a_full_folder_takes_no_more(folder: Path) -> None:
    with web_stack(uploads=folder, max_uploads_bytes=1000) as stack, stack.http() as http:
        assert http.put("/v1/uploads/a.mp4", content=b"x" * 1001).status_code == 507
        assert http.put("/v1/uploads/a.mp4", content=b"x" * 900).status_code == 201
        assert http.put("/v1/uploads/b.mp4", content=b"x" * 900).status_code == 507
        assert len([path for path in folder.rglob("*") if path.is_file()]) == 1


def test_without_a_folder_uploads_are_refused() -> None:
    with web_stack() as stack, stack.http() as http:
        assert http.put("/v1/uploads/a.mp4", content=b"x").status_code == 403
