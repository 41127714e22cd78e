import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboard import snippets
from dashboard.gallery import FOLDER
from tests.fakes.service import FakeService

NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=30)


def call(url: str, **changes: object) -> snippets.Call:
    fields = {"url": url, "file_name": "coffee.png", "model": "efficientnet_lite0", "top_k": 5} | changes
    return snippets.Call(**fields)  # type: ignore[arg-type]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_snippet_makes_the_call_that_the_page_made(app: AppTest, service: FakeService) -> None:
    app.run().button(key="classify_sample_coffee").click().run()
    shell = next(code.value for code in app.code if code.language == "bash")
    subprocess.run(["/bin/sh", "-c", shell], cwd=FOLDER, check=True, capture_output=True, timeout=30)
    of_the_page, of_the_snippet = service.seen("/v1/classify")
    assert of_the_snippet.body == of_the_page.body
    assert of_the_snippet.query["model"] == of_the_page.query["model"]
    assert of_the_snippet.headers["content-type"] == of_the_page.headers["content-type"]
    assert of_the_snippet.query["top_k"] == "5"


def test_the_python_snippet_runs_and_prints_the_classes(service: FakeService, tmp_path: Path) -> None:
    script = tmp_path / "ask.py"
    script.write_text(snippets.as_python(call(service.url)))
    root = Path(snippets.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, script],
        cwd=FOLDER,
        env={"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[0] == "0.3561  Egyptian cat"
    assert service.seen("/v1/classify")[0].body == (FOLDER / "coffee.png").read_bytes()


@given(NAMES, NAMES)
def test_no_file_or_model_name_breaks_out_of_a_snippet(file_name: str, model: str) -> None:
    named = call("http://localhost:3000", file_name=file_name, model=model)
    words = shlex.split(snippets.as_curl(named).replace("\\\n", " "))
    assert words[:3] == ["curl", "--data-binary", f"@{file_name}"]
    assert len(words) == 6
    compile(snippets.as_python(named), "snippet", "exec")


def test_an_image_without_a_name_gets_one_to_fill_in() -> None:
    assert "@image.png" in snippets.as_curl(call("http://localhost:3000", file_name=""))
