import pytest
import streamlit as st

from dashboard.reads import open_service


def test_a_variable_that_nothing_reads_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LIGHTBOX_PUBLIC_ULR", "http://localhost")
    monkeypatch.setenv("LIGHTBOX_NAMES_CHECKED", "")
    st.cache_resource.clear()

    open_service()
    st.cache_resource.clear()
    open_service()

    [warning] = [record.getMessage() for record in caplog.records if "has no effect" in record.getMessage()]
    assert warning.endswith("Did you mean LIGHTBOX_PUBLIC_URL?")
