import pytest
from streamlit.testing.v1 import AppTest


def test_a_variable_that_nothing_reads_is_warned_of_once(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIGHTBOX_PUBLIC_ULR", "http://localhost")
    monkeypatch.setenv("LIGHTBOX_NAMES_CHECKED", "")

    app.run()
    app.run()

    [warning] = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert warning.endswith("Did you mean LIGHTBOX_PUBLIC_URL?")
