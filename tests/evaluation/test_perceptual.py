from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation import metrics, perceptual

VGG16_LAYERS = {
    0: 64,
    2: 64,
    5: 128,
    7: 128,
    10: 256,
    12: 256,
    14: 256,
    17: 512,
    19: 512,
    21: 512,
    24: 512,
    26: 512,
    28: 512,
}


def trunk_state(seed: int = 0) -> dict[str, Tensor]:
    """A random VGG16 trunk under torchvision's names, scaled so that activations keep their size."""
    generator = torch.Generator().manual_seed(seed)
    state, channels = {}, 3
    for layer, width in VGG16_LAYERS.items():
        scale = (2 / (9 * channels)) ** 0.5
        state[f"features.{layer}.weight"] = scale * torch.randn(width, channels, 3, 3, generator=generator)
        state[f"features.{layer}.bias"] = torch.zeros(width)
        channels = width
    return state


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trunk") / "vgg16.safetensors"
    save_file(trunk_state(), path)
    return path


@pytest.fixture(scope="module")
def lpips_term(trunk: Path) -> perceptual.LpipsTerm:
    return perceptual.LpipsTerm(trunk)


@pytest.fixture
def images() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(2, 32, 32, 3, generator=generator), torch.rand(2, 32, 32, 3, generator=generator)


def test_none_is_no_term() -> None:
    assert perceptual.perceptual_term("none") is None


def test_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="none, dssim, lpips"):
        perceptual.perceptual_term("ssim")


def test_trunk_without_lpips_is_refused(trunk: Path) -> None:
    with pytest.raises(UsageError, match="--lpips-trunk"):
        perceptual.perceptual_term("dssim", lpips_trunk=trunk)


def test_dssim_follows_the_reported_ssim(images: tuple[Tensor, Tensor]) -> None:
    term = perceptual.DssimTerm()
    torch.testing.assert_close(term(*images), (1 - metrics.ssim(*images)) / 2, atol=1e-5, rtol=0)


def test_dssim_keeps_leading_dimensions_and_zero_means_identical() -> None:
    images = torch.rand(2, 3, 16, 20, 3, generator=torch.Generator().manual_seed(0))
    values = perceptual.DssimTerm()(images, images)
    assert values.shape == (2, 3)
    torch.testing.assert_close(values, torch.zeros(2, 3), atol=1e-6, rtol=0)


def test_dssim_gradient_is_exact() -> None:
    generator = torch.Generator().manual_seed(5)
    rgb, gt = torch.rand(2, 12, 12, 3, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(perceptual.DssimTerm(), (rgb.requires_grad_(), gt), fast_mode=True)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_dssim_gradient_is_finite_on_flat_images(value: float) -> None:
    rgb = torch.full((1, 16, 16, 3), value, requires_grad=True)
    perceptual.DssimTerm()(rgb, torch.ones(1, 16, 16, 3)).sum().backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()


def descends(term: Callable[[Tensor, Tensor], Tensor], rgb: Tensor, gt: Tensor, rate: float) -> bool:
    rgb = rgb.clone().requires_grad_()
    before = term(rgb, gt).sum()
    (gradient,) = torch.autograd.grad(before, rgb)
    return bool(term(rgb - rate * gradient / gradient.norm(), gt).sum() < before)


def test_one_gradient_step_lowers_each_term(images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm) -> None:
    assert descends(perceptual.DssimTerm(), *images, rate=0.1)
    assert descends(lpips_term, *images, rate=0.1)


def test_lpips_equals_the_lpips_package(images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm) -> None:
    """The package's own network, filled layer by layer, called as its documentation says."""
    import lpips

    with torch.device("meta"), pytest.warns(UserWarning):
        network = lpips.LPIPS(net="vgg", pnet_rand=True, pretrained=False, verbose=False)
    network = network.to_empty(device="cpu")
    network.scaling_layer = lpips.ScalingLayer()
    heads = Path(lpips.__file__).parent / "weights/v0.1/vgg.pth"
    network.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False)
    state = trunk_state()
    with torch.no_grad():
        for part in range(1, 6):
            for name, layer in getattr(network.net, f"slice{part}").named_children():
                if isinstance(layer, torch.nn.Conv2d):
                    layer.weight.copy_(state[f"features.{name}.weight"])
                    assert layer.bias is not None
                    layer.bias.copy_(state[f"features.{name}.bias"])
        a, b = (image.movedim(-1, 1) * 2 - 1 for image in images)
        expected = network.eval()(a, b).flatten()
    torch.testing.assert_close(lpips_term(*images), expected)
    assert (expected > 0).all()


def test_lpips_of_identical_images_is_zero(images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm) -> None:
    torch.testing.assert_close(lpips_term(images[0], images[0]), torch.zeros(2))


def test_lpips_is_frozen_and_never_random(images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm) -> None:
    lpips_term.train()
    assert not any(parameter.requires_grad for parameter in lpips_term.parameters())
    assert torch.equal(lpips_term(*images), lpips_term(*images))


def test_other_weights_are_not_called_lpips(lpips_term: perceptual.LpipsTerm) -> None:
    assert not lpips_term.verified
    assert lpips_term.name == "lpips_custom_trunk"


def test_trunk_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vgg16-397923af.pth"
    path.write_bytes(b"abc")
    monkeypatch.setattr(perceptual, "_read_trunk", lambda _: {})
    monkeypatch.setattr(perceptual, "_assemble", lambda *_: torch.nn.Identity())
    term = perceptual.LpipsTerm(path)
    assert not term.verified and term.digest.startswith("ba7816bf")  # SHA-256 of "abc"
    monkeypatch.setattr(perceptual, "_TRUNK_DIGEST", "ba7816bf")
    assert perceptual.LpipsTerm(path).verified


def test_building_lpips_leaves_the_random_stream_alone(trunk: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    perceptual.LpipsTerm(trunk)
    assert torch.equal(torch.rand(1), expected)


def test_pth_trunk_gives_the_same_values(
    tmp_path: Path, images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm
) -> None:
    path = tmp_path / "vgg16.pth"
    torch.save(trunk_state() | {"classifier.0.bias": torch.zeros(4096)}, path)
    torch.testing.assert_close(perceptual.LpipsTerm(path)(*images), lpips_term(*images))


def test_trunk_file_runs_no_code(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "ran",)  # type: ignore[return-value]

    path = tmp_path / "evil.pth"
    torch.save(Payload(), path)
    with pytest.raises(UsageError, match="not a state dict"):
        perceptual.LpipsTerm(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("damage", ["missing", "shape", "extra"])
def test_trunk_that_is_no_vgg16_is_refused(tmp_path: Path, damage: str) -> None:
    state = trunk_state()
    if damage == "missing":
        del state["features.28.weight"]
    elif damage == "shape":
        state["features.0.bias"] = torch.zeros(63)
    else:
        state["features.1.weight"] = torch.zeros(3)
    path = tmp_path / "bad.safetensors"
    save_file(state, path)
    with pytest.raises(UsageError, match="not a VGG16"):
        perceptual.LpipsTerm(path)


def test_absent_trunk_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read") as error:
        perceptual.LpipsTerm(tmp_path / "none.pth")
    assert "\n" not in str(error.value)


def test_without_cache_and_download_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="--lpips-trunk PATH"):
        perceptual.perceptual_term("lpips", download=False)


def test_failing_download_is_one_line_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UsageError, match="no route to host") as error:
        perceptual.perceptual_term("lpips")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.rglob("*.pth"))


def test_cached_trunk_is_used_without_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: tuple[Tensor, Tensor], lpips_term: perceptual.LpipsTerm
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "vgg16-397923af.pth"
    path.parent.mkdir(parents=True)
    torch.save(trunk_state(), path)
    term = perceptual.perceptual_term("lpips", download=False)
    assert term is not None
    torch.testing.assert_close(term(*images), lpips_term(*images))


def test_tiny_images_are_refused(lpips_term: perceptual.LpipsTerm) -> None:
    with pytest.raises(GeotrapError, match="11 x 11"):
        perceptual.DssimTerm()(torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8, 3))
    with pytest.raises(GeotrapError, match="16 x 16"):
        lpips_term(torch.rand(1, 8, 8, 3), torch.rand(1, 8, 8, 3))
