"""The page in a real browser, on the embedded model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from maskstream.pipeline.client.client import Client
from maskstream.pipeline.local.detection import LocalTools
from maskstream.pipeline.local.threads import SessionThreads
from maskstream.pipeline.local.torch_thread import TorchThread
from maskstream.pipeline.store import MemoryStore
from maskstream.pipeline.video.model import VideoModel
from maskstream.pipeline.web.app import build_app
from maskstream.pipeline.web.config import WebConfig
from maskstream.pipeline.web.server import WebServer

# On a busy machine a frame takes seconds.
expect.set_options(timeout=60_000)

DEMO = Path(__file__).parents[2] / "pipeline" / "assets" / "demo.mp4"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found is not None, "the browser's tests need Chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found,
            args=[
                "--no-sandbox",
                "--use-fake-ui-for-media-stream",
                "--use-fake-device-for-media-stream",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


@pytest.fixture
def store() -> Iterator[MemoryStore]:
    store = MemoryStore()
    yield store
    store.close()


@pytest.fixture
def url(store: MemoryStore, model: VideoModel, uploads: Path) -> Iterator[str]:
    """The address of a service whose sessions the embedded model serves."""
    config = WebConfig(port=0, uploads=uploads)
    with (
        TorchThread() as thread,
        SessionThreads(store, LocalTools(lambda: model, thread)) as threads,
        WebServer(build_app(Client(store, serve=threads.serve), config), config) as server,
    ):
        yield f"http://127.0.0.1:{server.port}"


@pytest.fixture
def page(browser: Browser, url: str) -> Iterator[Page]:
    """The page, which must say nothing on the console and reach nothing else."""
    page = browser.new_page()
    page.set_default_timeout(60_000)
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda line: (
            complaints.append(line.text)
            # Chromium writes a line for each answer that is an error; the page says what it means.
            if line.type == "error" and "Failed to load resource" not in line.text
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            complaints.append(request.url)
            if not request.url.startswith((url, url.replace("http", "ws"), "blob:", "data:"))
            else None
        ),
    )
    page.goto(url)
    yield page
    page.close()
    assert complaints == []
