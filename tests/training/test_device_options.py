"""Switches of speed: each acts, or is refused where it cannot, and none changes what is computed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from geotrap_cli.errors import UsageError
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.training.workbench import open_model

CPU = torch.device("cpu")
needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]


def images() -> torch.Tensor:
    return torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))


def test_channels_last_lays_out_weights_and_activations_and_changes_rounding_only(
    load_mini: Callable[..., LoadedProfile],
) -> None:
    found = []
    for on in ("false", "true"):
        model = open_model(load_mini(f"device.channels_last={on}").profile, CPU)
        block, seen = model.get_submodule("unet.down_blocks.0.nets.0.conv1"), []
        block.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        raw = model(images())
        raw.square().sum().backward()
        layout = seen[0].is_contiguous(memory_format=torch.channels_last)
        found.append((layout, raw.detach(), block.weight.grad))
    (plain, raw, gradient), (laid_out, raw_last, gradient_last) = found
    assert (plain, laid_out) == (False, True)
    torch.testing.assert_close(raw_last, raw, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient_last, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("value", ["true", "false"])
def test_tf32_is_refused_where_it_cannot_act(load_mini: Callable[..., LoadedProfile], value: str) -> None:
    with pytest.raises(UsageError, match=r"device.tf32 does not act on cpu"):
        open_model(load_mini(f"device.tf32={value}").profile, CPU)


@pytest.mark.parametrize("wanted", [pytest.param(flag, marks=needs_cuda) for flag in (True, False)])
def test_tf32_is_set_for_products_and_convolutions(
    load_mini: Callable[..., LoadedProfile], monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, "allow_tf32", not wanted)
    open_model(load_mini(f"device.tf32={str(wanted).lower()}").profile, torch.device("cuda"))
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is wanted
