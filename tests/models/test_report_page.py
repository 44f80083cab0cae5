"""The report page in a real browser, without network: Chromium runs a script of the test after those of the page."""
import json
import re
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.report.page import write_report
from options.testing import parse
from test import reconstruct_folder
from tests.helpers import EXAMPLES, ROOT

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chromium-browser"))), None)
needs_browser = pytest.mark.skipif(not BROWSER, reason="needs Chromium, which .ci/run installs")

# Looks at the page as a user does, and writes what it finds as JSON to the console.
VISIT = """
<script>
const errors = [];
window.addEventListener("error", (event) => errors.push(event.message));
window.addEventListener("unhandledrejection", (event) => errors.push(String(event.reason)));
(async () => {
  const find = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const until = async (condition) => {
    while (!condition()) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  const choose = (selector, value) => {
    find(selector).value = value;
    find(selector).dispatchEvent(new Event("input", {bubbles: true}));
  };
  const names = () => all("article").map((card) => faces[card.dataset.index].name);
  const pixels = () => {
    const copy = document.createElement("canvas"), canvas = find("#view canvas");
    Object.assign(copy, {width: 20, height: 20});
    copy.getContext("2d").drawImage(canvas, 0, 0, 20, 20);
    return [...copy.getContext("2d").getImageData(0, 0, 20, 20).data];
  };
  const seen = {};
  await until(() => all("article img").length && all("article img").every((image) => image.naturalWidth));
  Object.assign(seen, {
    pictures: all("article img").length, widths: all("article img").map((image) => image.naturalWidth),
    faces: all("article").length, leftOut: all("#left-out tbody tr").map((row) => row.innerText),
    text: all("article section").map((section) => section.innerText), about: find("#about").innerText,
    dots: all("article:first-child circle").length});
  %s
  seen.errors = errors;
  console.log(`SEEN ${JSON.stringify(seen)} END`);
})();
</script>
"""
TOUR = """
  choose(".wipe input", 25);
  seen.wipe = getComputedStyle(find(".wipe .render")).clipPath;
  choose("#text", "HOPPER");
  seen.filtered = [names(), find("#count").innerText, all("#left-out tbody tr:not([hidden])").length];
  choose("#text", "nothing has this name");
  seen.nothing = [names(), find("#faces").innerText];
  choose("#text", "");
  choose("#kind", "remarks");
  seen.remarks = names();
  choose("#kind", "all");
  choose("#order", "size");
  seen.bySize = names();
  await until(() => find(".turn"));
  find(".turn").click();
  await until(() => view && "yaw" in view);
  seen.photo = pixels();
  all("#view input")[1].click();
  seen.skin = pixels();
  find("#view canvas").dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
  seen.turned = pixels();
"""


def visit(page: Path, more: str = "") -> dict:
    """What the script above finds on a page. more: further steps of it."""
    visited = page.with_name("visited.html")
    visited.write_text(page.read_text(encoding="utf-8").replace("</body>", VISIT % more + "</body>"), encoding="utf-8")
    browser = subprocess.Popen(
        [BROWSER, "--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         f"--user-data-dir={page.parent / 'browser'}", "--window-size=1200,900", "--remote-debugging-port=0",
         "--enable-logging=stderr", visited.as_uri()], text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    timer = threading.Timer(240, browser.kill)   # ends the lines of a page that says nothing
    timer.start()
    try:
        line = next((line for line in browser.stderr if ":CONSOLE" in line), "the page says nothing")
    finally:
        timer.cancel()
        browser.terminate()
        browser.communicate()
    seen = re.search('SEEN ({.*}) END', line)
    assert seen, line   # an error of the page
    return json.loads(seen[1])


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of the example photos and of a file that is no photo."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "photos").mkdir()
    for name in ("astronaut.png", "grace_hopper.jpg"):
        shutil.copy(EXAMPLES / name, folder / "photos")
    photo = Image.open(EXAMPLES / "astronaut.png").crop((195, 0, 512, 512))   # the edge of the photo cuts the face
    photo.save(folder / "photos" / "cut.png")
    (folder / "photos" / "<b>no & photo.jpg").write_text("text")
    assert reconstruct_folder(parse([
        "--name=open_face", "--epoch=20", f"--checkpoints_dir={ROOT / 'checkpoints'}", "--gpu_ids=-1",
        "--num_threads=0", "--save=mat", "--report", f"--img_folder={folder / 'photos'}",
        f"--results_dir={folder / 'results'}"])) == 1
    assert len((folder / "results" / "skipped.txt").read_text().splitlines()) == 1
    return folder / "results" / "report.html"


def test_the_page_is_one_file_without_addresses(report):
    names = {path.name for path in report.parent.iterdir()}
    assert names == {".photos", "skipped.txt", "report.html", "astronaut.mat", "cut.mat", "grace_hopper.mat"}
    text = re.sub('"data:image/webp;base64,[^"]*"|http://www.w3.org/2000/svg', "", report.read_text(encoding="utf-8"))
    assert not re.search(r"https?:|src=|@import|<link(?! rel=\"icon\" href=\"data:,\")", text)


@needs_browser
def test_a_visit(report):
    seen = visit(report, TOUR)
    assert seen["errors"] == []
    assert seen["faces"] == 3 and seen["pictures"] == 12 and set(seen["widths"]) == {224}
    assert seen["dots"] == 5 + 68
    name, reason = seen["leftOut"][0].split("\t")
    assert name == "<b>no & photo.jpg" and "not a photo" in reason
    assert "open_face/epoch_20.pth" in seen["about"] and "open_face_model.npz" in seen["about"]
    assert all("Colour difference" in text and "px" in text for text in seen["text"])
    assert seen["wipe"] == "inset(0px 0px 0px 25%)"
    assert seen["filtered"] == [["grace_hopper"], "1 of 3 faces", 0]
    assert seen["nothing"] == [[], "No face fits the choice above."]
    assert seen["remarks"] == ["cut"]
    assert sorted(seen["bySize"]) == ["astronaut", "cut", "grace_hopper"] and seen["bySize"][-1] != "astronaut"

    photo, skin, turned = (np.array(seen[name], float).reshape(20, 20, 4)[..., :3] / 255
                           for name in ("photo", "skin", "turned"))
    background = photo[0, 0]
    face = np.abs(photo - background).max(2) > 0.05
    assert 0.15 < face.mean() < 0.8 and face[8:12, 8:12].all()
    red, _, blue = photo[face].mean(0)
    assert red > blue + 0.05   # a face has the colour of skin
    assert np.abs(photo - skin)[face].mean() > 0.01
    assert np.abs(skin - turned)[face].mean() > 0.01


@needs_browser
def test_of_many_faces_only_those_in_the_window_are_filled(report, tmp_path, face_model):
    content = json.loads(re.search('id="face-0">(.*)</script>', report.read_text(encoding="utf-8"))[1])
    numbers = {"photo": "x", "color": 0.1, "landmarks": 1, "points": 5, "pitch": 0, "yaw": 0, "roll": 0, "size": 200}
    for number in range(400):
        lines = [json.dumps(numbers | {"name": f"face {number}"}), json.dumps(content)]
        (tmp_path / f".{number}.report").write_text("\n".join(lines), encoding="utf-8")
    write_report(tmp_path, "", face_model, {}, {})
    seen = visit(tmp_path / "report.html")
    assert seen["errors"] == [] and seen["faces"] == 400
    assert 0 < seen["pictures"] < 80
