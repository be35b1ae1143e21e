"""The released file's layout: sorted names, half precision, a bare JSON header; and what can be wrong with a file."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from geotrap_cli.errors import UsageError
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator
from geotrap_cli.models.official import load_official

Change = Callable[[dict[str, Tensor]], object]


def write_official(path: Path, tensors: dict[str, Tensor]) -> Path:
    """Write ``tensors`` byte by byte in the layout of the released file, which has no ``__metadata__``."""
    header, data = {}, b""
    for name, value in sorted(tensors.items()):
        payload = value.numpy().tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(payload)],
        }
        data += payload
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture(scope="module")
def nano_weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: value.half() for name, value in LGM.from_preset("nano").state_dict().items()}


def refused(tmp_path: Path, tensors: dict[str, Tensor]) -> str:
    with pytest.raises(UsageError) as caught:
        load_official("lgm", "nano", write_official(tmp_path / "w.safetensors", tensors))
    assert "\n" not in str(caught.value)
    assert "w.safetensors" in str(caught.value)
    return str(caught.value)


def test_the_released_layout_loads_as_float32(tmp_path: Path, nano_weights: dict[str, Tensor]) -> None:
    path = write_official(tmp_path / "model_fp16_fixrot.safetensors", nano_weights)
    model = load_generator("nano", str(path))
    state = model.state_dict()
    assert state.keys() == nano_weights.keys()
    assert all(value.dtype == torch.float32 for value in state.values())
    assert all(torch.equal(state[name], value.float()) for name, value in nano_weights.items())
    assert all(p.requires_grad for p in model.parameters())
    assert not model.training


def test_the_model_does_not_depend_on_the_file_afterwards(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "full.safetensors"
    save_file(LGM.from_preset("nano").state_dict(), path)
    model = load_official("lgm", "nano", path)
    before = model.conv.weight.clone()
    path.write_bytes(b"\0" * path.stat().st_size)
    assert torch.equal(model.conv.weight, before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t.pop("conv.bias"), ["1 missing (conv.bias)"]),
        (lambda t: t.update({"lpips_loss.x": torch.zeros(1).half()}), ["1 unexpected (lpips_loss.x)"]),
        (
            lambda t: t.update({"conv.bias": torch.zeros(3).half()}),
            ["1 of another shape (conv.bias is [3] instead of [14])"],
        ),
        (
            lambda t: t.update({"conv.biases": t.pop("conv.bias")}),
            ["1 missing (conv.bias)", "1 unexpected (conv.biases)"],
        ),
        (lambda t: t.clear(), ["376 missing (unet.conv_in.weight, ", " and 372 more)"]),
        (lambda t: t["conv.weight"][3].fill_(float("nan")), ["conv.weight", "NaN"]),
        (lambda t: t["unet.norm_out.bias"][0].fill_(float("inf")), ["unet.norm_out.bias", "infinity"]),
    ],
)
def test_wrong_tensors_are_named(
    tmp_path: Path, nano_weights: dict[str, Tensor], change: Change, told: list[str]
) -> None:
    tensors = {name: value.clone() for name, value in nano_weights.items()}
    change(tensors)
    message = refused(tmp_path, tensors)
    assert all(part in message for part in told), message


def test_the_wrong_preset_is_told(tmp_path: Path, nano_weights: dict[str, Tensor]) -> None:
    path = write_official(tmp_path / "w.safetensors", nano_weights)
    with pytest.raises(UsageError, match=r"of another shape .*preset big"):
        load_official("lgm", "small", path)


@pytest.mark.parametrize("kept", [0, 4, 100, 100_000, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, nano_weights: dict[str, Tensor], kept: int) -> None:
    path = write_official(tmp_path / "w.safetensors", nano_weights)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UsageError, match=r"w\.safetensors cannot be read as safetensors"):
        load_official("lgm", "nano", path)


@pytest.mark.parametrize("content", [b"<!DOCTYPE html><html>404</html>", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 60])
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read as safetensors"):
        load_generator("nano", str(path))


def test_integers_are_not_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_file({"conv.bias": torch.zeros(14, dtype=torch.int64)}, path)
    with pytest.raises(UsageError, match=r"conv\.bias holds int64"):
        load_official("lgm", "nano", path)


def test_names_from_before_the_rotation_fix_are_warned_of(
    tmp_path: Path, nano_weights: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        load_official("lgm", "nano", write_official(tmp_path / "model_fp16_fixrot.safetensors", nano_weights))
        assert not caplog.records
        load_official("lgm", "nano", write_official(tmp_path / "model_fp16.safetensors", nano_weights))
    assert "rotation fix" in caplog.text
