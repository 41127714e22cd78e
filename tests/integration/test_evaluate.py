"""`lightbox evaluate` with a real model, as a person runs it, and its page in a real browser."""

import json
import os
import subprocess
import sys
from pathlib import Path

from bench.photographs import write_photographs
from tests.browser.chromium import open_chromium

LABELS = ("crash helmet", "egyptian_cat", "Espresso", "moped", "tick", "657")
"""What the model says most often of the six photographs that the others are cut from; 657 is a missile."""


def test_a_folder_of_photographs_becomes_figures_and_a_page_that_opens_offline(
    bentoml_home: Path, tmp_path: Path
) -> None:
    folder, page = tmp_path / "labelled", tmp_path / "page.html"
    for number, path in enumerate(write_photographs(tmp_path / "plain", 24)):
        (folder / LABELS[number % 6]).mkdir(parents=True, exist_ok=True)
        path.rename(folder / LABELS[number % 6] / path.name)
    (folder / "tick" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    command = [sys.executable, "-m", "bento_service.cli.app", "evaluate", "efficientnet_lite0", str(folder), "--local"]
    environment = os.environ | {"BENTOML_HOME": str(bentoml_home), "LIGHTBOX_DATA_DIR": str(tmp_path / "data")}

    done = subprocess.run(
        [*command, "--json", "-", "--html", str(page)], check=False, capture_output=True, text=True, env=environment
    )

    assert done.returncode == 2, done.stderr
    assert "torn.jpg" in done.stderr
    model = json.loads(done.stdout)["models"][0]
    figures = model["figures"]
    assert (model["engine"], figures["answered"], figures["failed"]) == ("openvino f32", 24, {"undecodable_image": 1})
    cat = next(one for one in figures["classes"] if one["label"] == "Egyptian cat")
    assert cat["recall"] >= 0.75
    assert 0 < figures["log_loss"] < 4
    assert figures["accuracy"]["low"] < figures["accuracy"]["value"] < figures["accuracy"]["high"]
    with open_chromium() as browser:
        opened = browser.new_context(offline=True).new_page()
        complaints: list[str] = []
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("requestfailed", lambda request: complaints.append(request.url))
        opened.goto(page.as_uri())
        assert "efficientnet_lite0 is right on" in opened.inner_text(".verdict")
        pictures = opened.locator(".mistakes img")
        assert pictures.count() == figures["answered"] - figures["right"]
        assert pictures.evaluate_all("images => images.every(image => image.naturalWidth > 0)")
        assert complaints == []
