from pathlib import Path

import pytest

from bento_service.extras import Installation, explain_missing

SITE_PACKAGES = Path("/opt/venv/lib/python3.13/site-packages")


def installed(root: Path = SITE_PACKAGES, prefix: str = "/opt/venv", *, has_pip: bool = True) -> Installation:
    return Installation(root, Path(prefix), has_pip=has_pip, is_container=False)


def test_a_checkouts_own_environment_gets_an_extra_by_make(tmp_path: Path) -> None:
    (tmp_path / "Makefile").touch()
    where = installed(tmp_path, str(tmp_path / ".venv"))

    assert explain_missing("The engine `torch`", "torch", where) == (
        "The engine `torch` needs the extra `torch`, PyTorch, torchvision and timm, which is not installed "
        "(5.4 GB on Linux, 0.7 GB on macOS): run `make setup EXTRAS=torch`."
    )
    assert where.make_line("dashboard") == "make setup"
    assert where.make_line("transformers") == 'make setup EXTRAS="torch transformers"'


@pytest.mark.parametrize("is_checkout", [True, False])
def test_any_other_environment_gets_it_from_its_installer(tmp_path: Path, is_checkout: bool) -> None:
    (tmp_path / "Makefile").touch()
    root = tmp_path if is_checkout else SITE_PACKAGES

    assert installed(root).make_line("onnxruntime") == "pip install 'lightbox-serving[onnxruntime]'"
    assert installed(root).make_line("bundled") == "pip install lightbox-serving"


def test_an_environment_without_pip_is_named_to_uv() -> None:
    line = installed(prefix="/home/me/my venv", has_pip=False).make_line("torch")

    assert line == "uv pip install --python '/home/me/my venv' 'lightbox-serving[torch]'"


def test_a_checkout_whose_user_has_no_uv_names_the_one_that_setup_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uv = tmp_path / "my checkout" / ".cache" / "uv-0.13.9" / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    where = installed(tmp_path / "my checkout", str(tmp_path / "my checkout" / ".venv"), has_pip=False)

    assert where.make_repair_line("weights") == (
        f"'{uv}' pip install --python '{where.prefix}' --force-reinstall --no-deps weights"
    )


def test_nothing_is_added_to_an_image() -> None:
    image = Installation(Path("/app/bento/src"), Path("/opt/venv"), has_pip=False, is_container=True)

    said = explain_missing("The engine `onnxruntime`", "onnxruntime", image)

    assert said.endswith("needs the extra `onnxruntime`, ONNX Runtime, which this image does not have.")
