from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from geotrap_cli.data.batch import IMAGENET_STD
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.training.robust.input_noise import InputNoise
from geotrap_cli.training.robust.parameter_noise import ParameterNoise
from geotrap_cli.training.robust.streams import Stream, derived_seed, torch_stream

CPU = torch.device("cpu")


def shares(model: nn.Module, weights: dict[str, Tensor]) -> dict[str, float]:
    """RMS of each tensor's noise over the RMS of the tensor."""
    own = dict(model.named_parameters())
    return {name: float((weights[name] - own[name]).norm() / own[name].norm()) for name in weights}


class TestParameterNoise:
    def test_every_tensor_gets_the_same_share_whatever_its_scale(self, micro: LGM, images: Tensor) -> None:
        with torch.no_grad():
            micro.unet.conv_in.weight *= 1000
        micro.requires_grad_(False)
        found = shares(micro, dict(ParameterNoise(micro, 0.1, seed=0).place(0, images).weights))
        assert found.keys() == dict(micro.named_parameters()).keys()
        large = {name for name, value in micro.named_parameters() if value.numel() > 500}
        assert all(found[name] == pytest.approx(0.1, rel=0.15) for name in large)
        assert "unet.conv_in.weight" in large

    def test_noise_is_linear_in_sigma(self, micro: LGM, images: Tensor) -> None:
        small, large = (ParameterNoise(micro, sigma, seed=0).place(3, images).weights for sigma in (0.01, 0.1))
        for name, value in micro.named_parameters():
            assert torch.allclose(10 * (small[name] - value), large[name] - value, atol=1e-5)

    def test_a_tensor_of_zeros_stays(self, micro: LGM, images: Tensor) -> None:
        nn.init.zeros_(micro.unet.conv_in.bias)
        weights = ParameterNoise(micro, 0.5, seed=0).place(0, images).weights
        assert weights["unet.conv_in.bias"].abs().max() == 0

    def test_it_depends_on_seed_and_step_alone(self, micro: LGM, images: Tensor) -> None:
        def draw(seed: int, step: int) -> Tensor:
            return ParameterNoise(micro, 0.1, seed).place(step, images).weights["unet.conv_in.weight"]

        first = draw(0, 5)
        torch.manual_seed(123)
        torch.randn(7)
        assert draw(0, 5).equal(first)
        assert not draw(0, 6).equal(first)
        assert not draw(1, 5).equal(first)


class TestInputNoise:
    def test_rays_stay_exact_and_the_input_is_not_touched(self, images: Tensor) -> None:
        before = images.clone()
        noisy = InputNoise(0.2, seed=0).place(0, images).images
        assert images.equal(before)
        assert noisy[:, :, 3:].equal(images[:, :, 3:])
        assert (noisy[:, :, :3] != images[:, :, :3]).all()

    def test_the_deviation_is_in_units_of_intensity(self) -> None:
        images = torch.zeros(4, 4, 9, 32, 32)
        noise = InputNoise(0.2, seed=0).place(0, images).images[:, :, :3] * torch.tensor(IMAGENET_STD)[:, None, None]
        deviations = noise.transpose(0, 2).flatten(1).std(dim=1)
        assert deviations.tolist() == pytest.approx([0.2] * 3, rel=0.03)
        assert noise.mean().item() == pytest.approx(0.0, abs=0.005)

    def test_it_depends_on_seed_and_step_alone(self, images: Tensor) -> None:
        first = InputNoise(0.2, seed=0).place(4, images).images
        assert InputNoise(0.2, seed=0).place(4, images).images.equal(first)
        assert not InputNoise(0.2, seed=0).place(5, images).images.equal(first)
        assert not InputNoise(0.2, seed=1).place(4, images).images.equal(first)


def test_streams_are_told_apart() -> None:
    drawn = {float(torch.rand((), generator=torch_stream(0, 0, stream, CPU))) for stream in Stream}
    assert len(drawn) == len(Stream)
    assert len({derived_seed(0, stream) for stream in Stream}) == len(Stream)
