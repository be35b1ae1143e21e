from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from torch import Tensor, nn

from geotrap_cli.errors import GeotrapError
from geotrap_cli.models.lgm.fusion import fold_into
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator, save_generator


def test_fusing_is_exact_in_float64(miniature: LGM, images: Tensor) -> None:
    model = miniature.double()
    expected = model(images.double())
    fused = model.fuse_head()
    assert fused is model
    torch.testing.assert_close(fused(images.double()), expected, rtol=1e-12, atol=1e-12)
    assert isinstance(model.conv, nn.Identity)


@given(channels=st.integers(1, 4), kernel=st.sampled_from([1, 3]), biases=st.tuples(st.booleans(), st.just(True)))
def test_folding_equals_running_both(channels: int, kernel: int, biases: tuple[bool, bool]) -> None:
    torch.manual_seed(channels)
    first = nn.Conv2d(2, channels, kernel, padding=kernel // 2).double()
    second = nn.Conv2d(channels, channels, 1, bias=biases[0]).double()
    x = torch.randn(1, 2, 4, 5, dtype=torch.float64)
    expected = second(first(x))
    fold_into(first, second)
    torch.testing.assert_close(first(x), expected, rtol=1e-12, atol=1e-12)


def test_fusing_twice_is_fusing_once(miniature: LGM) -> None:
    once = {name: value.clone() for name, value in miniature.fuse_head().state_dict().items()}
    twice = miniature.fuse_head().state_dict()
    assert all(torch.equal(once[name], twice[name]) for name in once)


def test_a_fused_model_is_saved_and_loaded_as_one(miniature: LGM, images: Tensor, tmp_path: Path) -> None:
    expected = miniature.fuse_head()(images)
    save_generator(miniature, tmp_path / "fused")
    loaded = load_generator("nano", str(tmp_path / "fused"))
    assert loaded.config.fused_head is True
    assert "conv.weight" not in loaded.state_dict()
    assert torch.equal(loaded(images), expected)
    assert torch.equal(LGM.from_pretrained(tmp_path / "fused")(images), expected)


def test_adapters_on_the_head_prevent_fusing(miniature: LGM) -> None:
    miniature.add_adapter(LoraConfig(r=2, target_modules=["conv_out"]))
    with pytest.raises(GeotrapError, match="adapter"):
        miniature.fuse_head()
