from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import library

from geotrap_cli import compat


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> str:
    """A schema of our own in the place of torchvision's, so that nothing real is declared."""
    name = "geotrap_probe"
    monkeypatch.setattr(compat, "SCHEMAS", {name: f"{name}(Tensor x) -> Tensor"})
    monkeypatch.setattr(compat, "_declared", [])
    monkeypatch.setattr(compat, "_torchvision_folder", lambda: Path("torchvision"))
    monkeypatch.setattr(compat, "_load_extension", lambda _: None)
    return name


def test_everything_imports_in_a_fresh_interpreter() -> None:
    code = (
        "from geotrap_cli.compat import ensure_torchvision, missing_operators\n"
        "ensure_torchvision(); ensure_torchvision()\n"
        "assert not missing_operators()\n"
        "import torchvision, lpips, peft\n"
        "from diffusers.loaders import PeftAdapterMixin\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_missing_schema_is_declared_once(probe: str) -> None:
    assert compat.missing_operators() == [probe]
    compat.ensure_torchvision()
    compat.ensure_torchvision()
    assert compat.missing_operators() == []
    assert len(compat._declared) == 1


def test_a_declared_operator_still_cannot_be_called(probe: str) -> None:
    compat.ensure_torchvision()
    with pytest.raises(NotImplementedError):
        getattr(torch.ops.torchvision, probe)(torch.zeros(1))


def test_operators_that_load_are_left_alone(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = library.Library("torchvision", "FRAGMENT")
    monkeypatch.setattr(compat, "_load_extension", lambda _: fragment.define(compat.SCHEMAS[probe]))
    compat.ensure_torchvision()
    assert compat._declared == []


def test_without_torchvision_nothing_is_declared(probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compat, "_torchvision_folder", lambda: None)
    compat.ensure_torchvision()
    assert compat.missing_operators() == [probe]


def test_an_extension_that_does_not_load_is_no_error(tmp_path: Path) -> None:
    compat._load_extension(tmp_path)
    (tmp_path / "_C.so").write_bytes(b"not a library")
    compat._load_extension(tmp_path)
