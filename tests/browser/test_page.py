"""What people do on the page, with a real browser, a real server and the embedded model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from pycocotools import mask as coco_mask

from tests.browser.conftest import DEMO

pytestmark = [
    pytest.mark.timeout(400),
    # pycocotools is older than numpy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

# What is on the canvas, and of which result it is, taken at one moment.
SHOWN = """() => {
  const canvas = document.getElementById("overlay");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const rows = [];
  for (let place = 0; place < data.length; place += 4) rows.push(data[place + 3] ? 1 : 0);
  const { cursor, frame_index } = window.maskstream.viewer.shown;
  return { cursor, frame_index, size: [canvas.height, canvas.width], seen: rows.join("") };
}"""


def open_source(page: Page, path: Path | str) -> None:
    page.get_by_label("File on the server").fill(str(path))
    page.get_by_role("button", name="Open").click()


def find(page: Page, words: str) -> None:
    page.get_by_label("What to find").fill(words)
    page.get_by_role("button", name="Find").click()


def wait_for_a_frame(page: Page) -> None:
    expect(page.locator("#stage")).to_have_attribute("data-frame", re.compile(r"\d+"))


def rows(page: Page) -> Any:
    return page.locator("#objects tbody tr")


def session_of(page: Page) -> str:
    found = re.search(r"session=([0-9a-f]+)", page.url)
    assert found
    return found[1]


def assert_canvas_is_the_result(page: Page, url: str) -> None:
    """Every pixel of the overlay is in a mask of the result that is shown, and the other way."""
    shown = page.evaluate(SHOWN)
    query = {"cursor": shown["cursor"] - 1, "max_results": 1}
    answer = httpx.get(f"{url}/v1/sessions/{session_of(page)}/results", params=query).json()
    (message,) = answer["results"]
    assert message["frame_index"] == shown["frame_index"]
    objects = message["result"]["objects"]
    masks = [coco_mask.decode(one["segmentation"]) for one in objects]
    expected = np.any(masks, axis=0) if masks else np.zeros(shown["size"], bool)
    seen = np.frombuffer(shown["seen"].encode(), np.uint8).reshape(shown["size"]) == ord("1")
    np.testing.assert_array_equal(seen, expected)


def test_a_word_is_typed_and_the_thing_is_followed(page: Page, url: str) -> None:
    open_source(page, DEMO)
    wait_for_a_frame(page)
    find(page, "dog face")
    expect(rows(page).first).to_contain_text("dog face")
    for _ in range(5):
        assert_canvas_is_the_result(page, url)
        page.wait_for_timeout(100)
    rows(page).first.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_count(0)


def test_a_file_is_uploaded_and_a_thing_clicked(page: Page, url: str) -> None:
    page.get_by_label("Upload a video").set_input_files(DEMO)
    wait_for_a_frame(page)
    canvas = page.locator("#overlay")
    box = canvas.bounding_box()
    assert box is not None
    canvas.click(position={"x": box["width"] * 0.5, "y": box["height"] * 0.5})
    expect(rows(page)).to_have_count(1)
    expect(rows(page).first).to_contain_text("1000")
    assert_canvas_is_the_result(page, url)
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] * 0.1)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.5)
    page.mouse.up()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_count(0)


def test_a_reloaded_page_goes_on(page: Page, url: str) -> None:
    open_source(page, DEMO)
    wait_for_a_frame(page)
    session_id = session_of(page)
    page.reload()
    wait_for_a_frame(page)
    assert session_of(page) == session_id
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#figures")).to_contain_text("paused")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#figures")).to_contain_text("running")
    page.get_by_role("button", name="Close session").click()
    expect(page.locator("#sessions li")).to_have_count(0)


def test_two_browsers_see_one_session(page: Page, browser: Browser, url: str) -> None:
    open_source(page, DEMO)
    wait_for_a_frame(page)
    other = browser.new_page()
    other.set_default_timeout(60_000)
    other.goto(page.url)
    wait_for_a_frame(other)
    find(page, "dog face")
    expect(rows(other).first).to_contain_text("dog face")
    assert_canvas_is_the_result(other, url)
    other.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it(browser: Browser, url: str, scheme: Any) -> None:
    """axe finds nothing. It is put into the page, which the page's own policy forbids."""
    context = browser.new_context(color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(url)
    open_source(page, DEMO)
    wait_for_a_frame(page)
    find(page, "dog face")
    expect(rows(page).first).to_contain_text("dog face")
    found = Axe().run(page).response["violations"]
    assert [(one["impact"], one["id"], one["nodes"]) for one in found] == []
    context.close()


def test_this_devices_camera(page: Page) -> None:
    page.get_by_role("button", name="Use this device's camera").click()
    wait_for_a_frame(page)
    expect(page.locator("#view-title")).to_have_text("camera")
    page.get_by_role("button", name="Close session").click()


def test_what_is_wrong_is_said(page: Page) -> None:
    open_source(page, "/nowhere/<b>x</b>.mp4")
    expect(page.locator("#message")).to_contain_text("/nowhere/<b>x</b>.mp4")
    assert page.locator("#message b").count() == 0


@pytest.mark.parametrize("width", [320, 1280, 3840])
def test_nothing_sticks_out(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    open_source(page, DEMO)
    wait_for_a_frame(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
