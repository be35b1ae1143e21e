"""Published layouts into model folders and back."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import quats_across
from geotrap_cli.models import family as families
from geotrap_cli.models.convert import convert
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import WeightsSource, load_generator, save_generator, weights_hash
from geotrap_cli.models.splatter_image.family import SplatterImageFamily
from geotrap_cli.models.splatter_image.model import SplatterImage

TINY = {"base_channels": 4, "channel_mult": [1, 1], "num_blocks": 1, "attention_resolutions": [8], "input_size": 16}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> SplatterImage:
    """A network of a preset that is as small as can be."""
    monkeypatch.setattr(SplatterImageFamily, "presets", {"tiny": TINY})
    torch.manual_seed(0)
    return SplatterImage(**TINY)


def published(model: SplatterImage) -> dict[str, torch.Tensor]:
    """A state dict as the authors' code has it, written down by hand for this size."""
    state = dict(model.state_dict())
    for block in ("enc.8x8_down", "dec.16x16_up"):
        for layer in ("conv0", "skip"):
            state[f"network_with_offset.encoder.{block}.{layer}.resample_filter"] = torch.full((1, 1, 2, 2), 0.25)
    state["ray_dirs"] = torch.zeros(1, 3, 16, 16)
    state["v_to_sh_transform"] = torch.eye(3)[None]
    state["sh_to_v_transform"] = torch.eye(3)[None]
    return state


def test_the_published_network_has_the_published_names_and_shapes() -> None:
    with torch.device("meta"):
        model = SplatterImage.from_preset("objaverse")
    shapes = {name: list(value.shape) for name, value in model.named_parameters()}
    assert sum(value.numel() for value in model.parameters()) == 56_378_736
    root = "network_with_offset.encoder"
    assert shapes[f"{root}.enc.128x128_conv.weight"] == [128, 3, 3, 3]
    assert shapes[f"{root}.enc.64x64_down.skip.weight"] == [128, 128, 1, 1]
    assert shapes[f"{root}.enc.64x64_block0.skip.weight"] == [256, 128, 1, 1]
    assert shapes[f"{root}.enc.16x16_block3.qkv.weight"] == [768, 256, 1, 1]
    assert shapes[f"{root}.dec.16x16_in0.proj.bias"] == [256]
    assert shapes[f"{root}.dec.16x16_block4.qkv.weight"] == [768, 256, 1, 1]
    assert shapes[f"{root}.dec.128x128_block4.conv0.weight"] == [128, 256, 3, 3]
    assert shapes[f"{root}.dec.128x128_aux_norm.weight"] == [128]
    assert shapes[f"{root}.dec.128x128_aux_conv.weight"] == [24, 128, 3, 3]
    assert shapes["network_with_offset.out.weight"] == [24, 24, 1, 1]
    assert f"{root}.dec.16x16_block3.qkv.weight" not in shapes and f"{root}.dec.16x16_in1.qkv.weight" not in shapes
    convolutions = [part for part in model.modules() if isinstance(part, torch.nn.Conv2d)]
    assert len(convolutions) == 130 and {type(part) for part in convolutions} == {torch.nn.Conv2d}


def test_a_checkpoint_becomes_a_folder_and_a_folder_the_published_layout(tiny: SplatterImage, tmp_path: Path) -> None:
    checkpoint = {"iteration": 3, "model_state_dict": published(tiny), "best_PSNR": 1.5}
    torch.save(checkpoint, tmp_path / "model_latest.pth")
    source = WeightsSource(str(tmp_path / "model_latest.pth"), "tiny", "splatter_image")
    made = convert(source, tmp_path / "folder")
    assert made.weights == weights_hash(tiny) == weights_hash(load_generator("nano", str(tmp_path / "folder")))
    convert(WeightsSource(str(tmp_path / "folder"), "tiny"), tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == published(tiny).keys()
    assert all(torch.equal(back[name], value) for name, value in tiny.state_dict().items())
    corner = back["ray_dirs"][0, :, 0, 0]
    focal = 8 / torch.tan(torch.deg2rad(torch.tensor(tiny.fov_deg)) / 2)
    torch.testing.assert_close(corner, torch.tensor([-7.5 / float(focal), -7.5 / float(focal), 1.0]))
    again = WeightsSource(str(tmp_path / "back.safetensors"), "tiny", "splatter_image")
    assert convert(again, tmp_path / "again").weights == made.weights


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda state: state.update(ray_dirs=torch.zeros(1, 3, 8, 8)), "not of 16 pixels"),
        (lambda state: state["network_with_offset.encoder.enc.8x8_down.skip.resample_filter"].fill_(0.5), "no mean"),
        (lambda state: state.pop("network_with_offset.out.bias"), "1 missing"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(
    tiny: SplatterImage, tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], Any], told: str
) -> None:
    state = {name: value.clone() for name, value in published(tiny).items()}
    change(state)
    torch.save({"model_state_dict": state}, tmp_path / "w.pth")
    with pytest.raises(UsageError, match=told):
        convert(WeightsSource(str(tmp_path / "w.pth"), "tiny", "splatter_image"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil"),))


@pytest.mark.parametrize("content", ["code", "nothing", "cut"])
def test_no_code_of_a_pickle_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    if content == "code":
        path.write_bytes(pickle.dumps({"state_dict": Evil()}))
    elif content == "nothing":
        torch.save({"epoch": 3}, path)
    else:
        path.write_bytes(b"PK\x03\x04" + b"\0" * 30)
    with pytest.raises(UsageError, match=r"w\.pth (cannot be read|holds no weights)"):
        convert(WeightsSource(str(path), "nano"), tmp_path / "out")
    assert not (tmp_path / "evil").exists() and not (tmp_path / "out").exists()


def test_lgm_goes_there_and_back_in_half_precision(miniature: LGM, tmp_path: Path) -> None:
    save_generator(miniature, tmp_path / "model")
    half = WeightsSource(str(tmp_path / "model"), "nano")
    convert(half, tmp_path / "model.safetensors", half=True)
    stored = load_file(tmp_path / "model.safetensors")
    assert (
        all(value.dtype == torch.float16 for value in stored.values())
        and stored.keys() == miniature.state_dict().keys()
    )
    with pytest.raises(UsageError, match="exists already"):
        convert(half, tmp_path / "model.safetensors")


def test_dry_run_and_unknown_sources(miniature: LGM, tmp_path: Path) -> None:
    save_generator(miniature, tmp_path / "model")
    assert not convert(WeightsSource(str(tmp_path / "model"), "nano"), tmp_path / "x", write=False).written
    assert not (tmp_path / "x").exists()
    (tmp_path / "w.bin").write_bytes(b"")
    for weights, told in (
        (tmp_path / "w.bin", "neither a"),
        (tmp_path / "none.pth", "not exist"),
        ("~nobody/x", "not exist"),
    ):
        with pytest.raises(UsageError, match=told):
            convert(WeightsSource(str(weights), "nano"), tmp_path / "x")


class TestOldRotation:
    def test_the_switch_is_kept_in_the_folder(self, tmp_path: Path) -> None:
        torch.manual_seed(0)
        save_file(LGM.from_preset("nano").state_dict(), tmp_path / "model.safetensors")
        source = WeightsSource(str(tmp_path / "model.safetensors"), "nano", old_rotation=True)
        convert(source, tmp_path / "folder")
        assert load_generator("nano", str(tmp_path / "folder")).activations.quats == "across"
        with pytest.raises(UsageError, match="says itself how it normalises rotations"):
            load_generator("nano", str(tmp_path / "folder"), old_rotation=True)

    def test_it_is_refused_where_there_was_never_another(self, tiny: SplatterImage, tmp_path: Path) -> None:
        save_file(published(tiny), tmp_path / "w.safetensors")
        with pytest.raises(UsageError, match="never had another rotation"):
            load_generator("tiny", str(tmp_path / "w.safetensors"), family="splatter_image", old_rotation=True)

    def test_rotations_are_those_that_the_old_rasteriser_saw(self) -> None:
        """It put a quaternion (w, v) of length ~ N^(-1/2) into I + 2w[v]x + 2[v]x²; what turns is 2w[v]x."""
        raw = torch.randn(1, 4096, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        small = raw / raw.norm(dim=1, keepdim=True)
        unit = quats_across(raw)
        torch.testing.assert_close(unit.norm(dim=-1), torch.ones(1, 4096, dtype=torch.float64))
        torch.testing.assert_close(unit[..., 1:], small[..., :1] * small[..., 1:], atol=1e-9, rtol=1e-4)


def test_a_folder_of_any_family_is_recognised(tiny: SplatterImage, tmp_path: Path) -> None:
    save_generator(tiny, tmp_path / "model")
    loaded = load_generator("nano", str(tmp_path / "model"))
    assert type(loaded) is SplatterImage and weights_hash(loaded) == weights_hash(tiny)
    assert families.family_of_class("UNet2DModel") is None
