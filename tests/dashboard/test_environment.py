import pytest
from streamlit.testing.v1 import AppTest


def test_a_proxy_before_the_service_is_named_without_its_password(
    app: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTBOX_URL", "http://192.0.2.7:3000")
    monkeypatch.setenv("http_proxy", "http://user:s3cret@127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")

    app.run()

    shown = " ".join(element.value for element in (*app.markdown, *app.error, *app.warning, *app.info))
    assert "http://192.0.2.7:3000 through the proxy http://127.0.0.1:9" in shown
    assert "s3cret" not in shown


def test_a_variable_that_nothing_reads_is_warned_of_once(
    app: AppTest, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIGHTBOX_PUBLIC_ULR", "http://localhost")
    monkeypatch.setenv("LIGHTBOX_NAMES_CHECKED", "")

    app.run()
    app.run()

    [warning] = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert warning.endswith("Did you mean LIGHTBOX_PUBLIC_URL?")
