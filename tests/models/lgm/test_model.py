from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from geotrap_defenses._features import watch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.models.base import Generator
from geotrap_cli.models.lgm.attention import Attention, MVAttention
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.lgm.unet import ResnetBlock

BIG_PARAMETERS = Path(__file__).parents[1] / "data" / "lgm_big_parameters.txt"


def on_meta(name: str) -> LGM:
    with torch.device("meta"):
        return LGM.from_preset(name)


def test_big_has_the_released_names_and_shapes_in_order() -> None:
    released = [tuple(line.split()) for line in BIG_PARAMETERS.read_text().splitlines()]
    assert [(n, "x".join(map(str, p.shape))) for n, p in on_meta("big").state_dict().items()] == released


@pytest.mark.parametrize(
    ("name", "parameters", "gaussians"),
    [
        ("nano", 4_351_472, 4096),
        ("tiny", 59_743_360, 16384),
        ("small", 412_958_240, 16384),
        ("big", 415_042_848, 65536),
    ],
)
def test_sizes_of_the_presets(name: str, parameters: int, gaussians: int) -> None:
    model = on_meta(name)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model.num_gaussians == gaussians
    views = torch.empty(1, 4, 9, model.input_size, model.input_size, device="meta")
    assert model(views).shape == (1, gaussians, 14)


def test_nano_has_the_names_of_big() -> None:
    assert list(on_meta("nano").state_dict()) == list(on_meta("big").state_dict())


def test_a_seed_fixes_the_weights_and_the_output(miniature_settings: dict[str, Any], images: Tensor) -> None:
    outputs = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        outputs.append(LGM(**miniature_settings)(images))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_gaussians_come_in_view_row_column_order(miniature: LGM, images: Tensor) -> None:
    features = miniature.conv(miniature.unet(images.reshape(8, 9, 16, 16)))
    raw = miniature(images)
    view, row, column = 2, 5, 3
    assert torch.equal(raw[1, view * 64 + row * 8 + column], features[4 + view, :, row, column])


def test_forward_gaussians_keeps_the_raw_channels(miniature: LGM, images: Tensor) -> None:
    batch = miniature.forward_gaussians(images)
    assert isinstance(miniature, Generator)
    assert len(batch) == 2
    assert batch.num_gaussians == miniature.num_gaussians == 256
    assert torch.equal(batch.require_raw(), miniature(images))
    assert torch.equal(batch.opacities, batch.require_raw()[..., 3].sigmoid())


def test_objects_of_a_batch_do_not_see_each_other(miniature: LGM, images: Tensor) -> None:
    torch.testing.assert_close(miniature(images)[1:], miniature(images[1:]))


def test_views_of_an_object_see_each_other(miniature: LGM, images: Tensor) -> None:
    changed = images.clone()
    changed[:, 3] += 1.0
    first_view = slice(0, 64)
    assert not torch.allclose(miniature(images)[:, first_view], miniature(changed)[:, first_view])


def test_without_attention_views_are_independent(miniature_settings: dict[str, Any], images: Tensor) -> None:
    off = {"down_attention": (False,) * 3, "mid_attention": False, "up_attention": (False,) * 2}
    model = LGM(**(miniature_settings | off))
    changed = images.clone()
    changed[:, 3] += 1.0
    torch.testing.assert_close(model(images)[:, :192], model(changed)[:, :192])


@pytest.mark.parametrize(
    "shape", [(4, 9, 16, 16), (2, 3, 9, 16, 16), (2, 4, 6, 16, 16), (2, 4, 9, 32, 16), (2, 4, 9, 32, 32)]
)
def test_wrong_shapes_are_told_in_one_line(miniature: LGM, shape: tuple[int, ...]) -> None:
    with pytest.raises(GeotrapError, match=r"\[B, 4, 9, 16, 16\], not \[") as caught:
        miniature.forward_gaussians(torch.zeros(shape))
    assert "\n" not in str(caught.value)


def test_an_empty_batch_gives_no_gaussians(miniature: LGM) -> None:
    assert miniature(torch.zeros(0, 4, 9, 16, 16)).shape == (0, 256, 14)


def test_nan_in_the_input_stays_nan(miniature: LGM, images: Tensor) -> None:
    images[0, 0, 0, 0, 0] = float("nan")
    batch = miniature.forward_gaussians(images)
    assert batch.activated[0].isnan().any()
    assert not batch.activated[1].isnan().any()


def test_attention_equals_the_textbook_formula() -> None:
    torch.manual_seed(0)
    attention = Attention(channels=6, num_heads=2).double()
    tokens = torch.randn(2, 5, 6, dtype=torch.float64)
    heads = []
    for head in range(2):
        rows = slice(3 * head, 3 * head + 3)
        q, k, v = (tokens @ w[rows].T for w in attention.qkv.weight.split(6))
        heads.append((q @ k.mT / 3**0.5).softmax(-1) @ v)
    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(heads, -1)))


def test_view_attention_mixes_the_tokens_of_all_views() -> None:
    torch.manual_seed(0)
    block = MVAttention(channels=8, num_heads=2, norm_groups=4, num_views=4).double()
    x = torch.randn(8, 8, 2, 3, dtype=torch.float64)
    normed = block.norm(x)
    for b in range(2):
        tokens = torch.stack(
            [normed[4 * b + v, :, r, c] for v in range(4) for r in range(2) for c in range(3)]
        ).unsqueeze(0)
        mixed = block.attn(tokens)[0].reshape(4, 2, 3, 8)
        for v in range(4):
            expected = (mixed[v].permute(2, 0, 1) + x[4 * b + v]) * 0.5**0.5
            torch.testing.assert_close(block(x)[4 * b + v], expected)


@pytest.mark.parametrize("out_channels", [4, 8])
def test_residual_block_equals_its_formula(out_channels: int) -> None:
    torch.manual_seed(0)
    block = ResnetBlock(4, out_channels, norm_groups=2).double()
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    hidden = block.conv1(F.silu(block.norm1(x)))
    hidden = block.conv2(F.silu(block.norm2(hidden)))
    skip = x if out_channels == 4 else block.shortcut(x)
    assert isinstance(block.shortcut, nn.Identity) == (out_channels == 4)
    torch.testing.assert_close(block(x), (hidden + skip) * 0.5**0.5)


def test_gradients_match_finite_differences_and_support_a_second_derivative() -> None:
    torch.manual_seed(0)
    block = MVAttention(channels=4, num_heads=2, norm_groups=2, num_views=2).double()
    net = ResnetBlock(4, 4, norm_groups=2).double()
    x = torch.randn(2, 4, 2, 2, dtype=torch.float64, requires_grad=True)
    with sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.gradcheck(lambda t: block(net(t)), (x,))
        assert torch.autograd.gradgradcheck(lambda t: block(net(t)), (x,))


def test_every_parameter_gets_a_gradient(miniature: LGM, images: Tensor) -> None:
    miniature(images).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in miniature.parameters())


def test_channels_last_and_contiguous_agree(miniature: LGM, images: Tensor) -> None:
    expected = miniature(images)
    torch.testing.assert_close(miniature.to(memory_format=torch.channels_last)(images), expected, rtol=1e-4, atol=1e-5)


def test_bfloat16_autocast_stays_close_and_gives_float32_gaussians(miniature: LGM, images: Tensor) -> None:
    expected = miniature(images)
    with torch.autocast("cpu", torch.bfloat16):
        batch = miniature.forward_gaussians(images)
    assert batch.activated.dtype == torch.float32
    torch.testing.assert_close(batch.require_raw(), expected, rtol=0.1, atol=0.1)


def test_gradient_checkpointing_changes_nothing_but_recomputes(miniature: LGM, images: Tensor) -> None:
    def gradients() -> tuple[dict[str, Tensor], int]:
        calls: list[None] = []
        hook = miniature.unet.mid_block.nets[0].register_forward_pre_hook(lambda *_: calls.append(None))
        miniature.zero_grad()
        miniature(images).square().mean().backward()
        hook.remove()
        return {n: p.grad.clone() for n, p in miniature.named_parameters() if p.grad is not None}, len(calls)

    plain, calls = gradients()
    assert calls == 1
    miniature.enable_gradient_checkpointing()
    assert miniature.is_gradient_checkpointing
    recomputed, calls = gradients()
    assert calls == 2
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=0, atol=0)
    miniature.disable_gradient_checkpointing()
    assert gradients()[1] == 1


def test_features_of_every_resolution_can_be_watched(miniature: LGM, images: Tensor) -> None:
    with watch(miniature, miniature.stages) as features:
        miniature(images)
    assert list(features.by_name) == list(miniature.stages)
    assert features.by_name[miniature.bottleneck].shape[-1] == min(f.shape[-1] for f in features.by_name.values())


def test_unknown_preset_and_bad_override() -> None:
    with pytest.raises(UsageError):
        LGM.from_preset("giant")
    with pytest.raises(UsageError, match="splat_size"):
        LGM.from_preset("nano", splat_size=64)
