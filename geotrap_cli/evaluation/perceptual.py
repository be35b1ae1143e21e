"""The perceptual term of a training loss: ``none``, ``dssim`` or ``lpips``, differentiable and one value per view.

A term takes channel-last images ``[..., H, W, 3]`` in [0, 1] and returns ``[...]``: zero for identical images, larger
for images that look less alike.

``lpips`` (Zhang et al. 2018, VGG16, version 0.1) needs the trunk torchvision trained on ImageNet. It is taken from the
given file, else from torch's hub cache, else downloaded into that cache; this module touches the network nowhere else.
A number is called LPIPS only when the trunk is that very file: with any other weights the term calls itself
``lpips_custom_trunk``.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from geotrap_cli.digests import feed_file
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.metrics import SSIM_SIGMA, SSIM_WINDOW, check_ssim_size

PerceptualKind = Literal["none", "dssim", "lpips"]

_C1, _C2 = 0.01**2, 0.03**2
_TRUNK_DIGEST = "397923af"
_TRUNK_HINT = (
    "Give torchvision's vgg16-397923af.pth (or its state dict as .safetensors) with --lpips-trunk PATH, "
    "put it into the checkpoints folder of the torch hub cache, or use loss.perceptual = 'dssim'"
)


class PerceptualTerm(nn.Module):
    """A differentiable distance between two images; ``name`` is what its values are reported as."""

    name: str

    def forward(self, rgb: Tensor, gt_rgb: Tensor) -> Tensor:
        """Return the distance ``[...]`` of images ``[..., H, W, 3]``."""
        raise NotImplementedError


def perceptual_term(
    kind: str, *, lpips_trunk: str | Path | None = None, download: bool = True
) -> PerceptualTerm | None:
    """Return the perceptual term of that kind, or None for ``"none"``.

    Args:
        kind: One of ``none``, ``dssim``, ``lpips``.
        lpips_trunk: A VGG16 state dict in torchvision's layout, ``.pth`` or ``.safetensors``; only for ``lpips``.
        download: Whether ``lpips`` may download a trunk that is neither given nor cached.

    Raises:
        UsageError: The kind is unknown, a trunk is given for a term that has none, or the trunk cannot be had.
    """
    if kind not in get_args(PerceptualKind):
        raise UsageError(f"loss.perceptual is {kind!r}", hint=f"Choose one of {', '.join(get_args(PerceptualKind))}")
    if kind == "lpips":
        return LpipsTerm(lpips_trunk, download=download)
    if lpips_trunk is not None:
        raise UsageError(
            f"--lpips-trunk has no use with loss.perceptual = {kind!r}", hint="Leave it out or set 'lpips'"
        )
    return DssimTerm() if kind == "dssim" else None


def available_lpips(trunk: str | Path | None = None) -> LpipsTerm | None:
    """Return LPIPS as a metric where its trunk is named or already cached, else None; nothing is downloaded.

    Raises:
        UsageError: A trunk is named and cannot be read.
    """
    if trunk is not None or _hub_file().is_file():
        return LpipsTerm(trunk, download=False)
    return None


class DssimTerm(PerceptualTerm):
    """Structural dissimilarity ``(1 - SSIM) / 2`` in [0, 1], with the window and constants of `metrics.ssim`."""

    name = "dssim"

    def __init__(self) -> None:
        super().__init__()
        offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
        window = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA**2))
        self.register_buffer("window", window / window.sum(), persistent=False)

    def forward(self, rgb: Tensor, gt_rgb: Tensor) -> Tensor:
        """Return ``(1 - SSIM) / 2`` per view."""
        check_ssim_size(rgb)
        x, y = _as_planes(rgb), _as_planes(gt_rgb)
        mean_x, mean_y, mean_xx, mean_yy, mean_xy = self._blur(torch.cat([x, y, x * x, y * y, x * y])).chunk(5)
        covariance = mean_xy - mean_x * mean_y
        variances = (mean_xx - mean_x.square()) + (mean_yy - mean_y.square())
        luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
        similarity = luminance * (2 * covariance + _C2) / (variances + _C2)
        return (1 - similarity.reshape(*rgb.shape[:-3], -1).mean(-1)) / 2

    def _blur(self, planes: Tensor) -> Tensor:
        """Convolve ``[P, H, W]`` with the window where it fits.

        As a product with two banded matrices, which takes a quarter of a convolution's time on the CPU at 64 and at
        256 pixels.
        """
        down, across = (self._band(size).to(planes) for size in planes.shape[-2:])
        return down @ planes @ across.T

    def _band(self, size: int) -> Tensor:
        """Return the matrix ``[size - 10, size]`` whose rows are the shifted window."""
        window = self.get_buffer("window")
        rows = torch.arange(size - SSIM_WINDOW + 1, device=window.device)[:, None]
        columns = rows + torch.arange(SSIM_WINDOW, device=window.device)
        return window.new_zeros(len(rows), size).scatter(1, columns, window.expand(len(rows), -1))


class LpipsTerm(PerceptualTerm):
    """LPIPS with the VGG16 trunk, frozen; ``verified`` tells whether the trunk is torchvision's ImageNet file.

    Raises:
        UsageError: The trunk is missing, cannot be read, or does not fit VGG16.
    """

    def __init__(self, trunk: str | Path | None = None, *, download: bool = True) -> None:
        super().__init__()
        path = Path(trunk) if trunk is not None else _cached_trunk(download)
        self.digest = _digest(path)
        # torchvision's file name says how it begins.
        self.verified = self.digest.startswith(_TRUNK_DIGEST)
        self.name = "lpips" if self.verified else "lpips_custom_trunk"
        self.network = _assemble(_read_trunk(path), path).requires_grad_(False).eval()

    def forward(self, rgb: Tensor, gt_rgb: Tensor) -> Tensor:
        """Return LPIPS per view."""
        if min(rgb.shape[-3:-1]) < 16:
            raise UsageError(f"LPIPS needs images of at least 16 x 16 pixels, got {tuple(rgb.shape)}")
        distance = self.network(_as_images(rgb), _as_images(gt_rgb), normalize=True)
        return distance.reshape(rgb.shape[:-3])

    def train(self, mode: bool = True) -> LpipsTerm:  # noqa: ARG002
        """Stay in evaluation mode: the heads hold dropout layers, and a metric is not random."""
        return super().train(False)


def _as_planes(images: Tensor) -> Tensor:
    return images.movedim(-1, -3).reshape(-1, *images.shape[-3:-1]).to(torch.promote_types(images.dtype, torch.float32))


def _as_images(images: Tensor) -> Tensor:
    return images.reshape(-1, *images.shape[-3:]).movedim(-1, 1)


def _trunk_url() -> str:
    from geotrap_cli.compat import ensure_torchvision

    ensure_torchvision()
    from torchvision.models import VGG16_Weights

    return str(VGG16_Weights.IMAGENET1K_V1.url)


def _hub_file() -> Path:
    """Where torch.hub keeps torchvision's file."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _trunk_url().rsplit("/", 1)[-1]


def _cached_trunk(download: bool) -> Path:
    """Return torchvision's file in the hub cache, downloading it there (553 MB) when that is allowed."""
    url, path = _trunk_url(), _hub_file()
    if path.is_file():
        return path
    if not download:
        raise UsageError(f"LPIPS needs the VGG16 trunk weights, which are not at {path}", hint=_TRUNK_HINT)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_TRUNK_DIGEST, progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise UsageError(f"the VGG16 trunk of LPIPS could not be downloaded ({error})", hint=_TRUNK_HINT) from error
    return path


def _digest(path: Path) -> str:
    """Return the SHA-256 of the file."""
    digest = hashlib.sha256()
    try:
        feed_file(digest, path)
    except OSError as error:
        raise UsageError(f"the LPIPS trunk {path} cannot be read ({error.strerror})", hint=_TRUNK_HINT) from error
    return digest.hexdigest()


def _read_trunk(path: Path) -> dict[str, Tensor]:
    """Read a state dict as data: safetensors, or a ``.pth`` restricted to tensors."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch's own text advises to load the file without restrictions, which would let it run code.
        raise UsageError(f"the LPIPS trunk {path} is damaged, or not a state dict", hint=_TRUNK_HINT) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UsageError(f"the LPIPS trunk {path} is not a state dict", hint=_TRUNK_HINT)
    return dict(state)


def _assemble(trunk: Mapping[str, Tensor], path: Path) -> nn.Module:
    """Build the LPIPS network around the trunk's ``features.*`` tensors; every tensor must be there and must fit."""
    from geotrap_cli.compat import ensure_torchvision

    ensure_torchvision()
    import lpips

    # On the meta device the 138 M parameters of a whole VGG16 cost neither memory nor random numbers.
    with _quiet(), torch.device("meta"):
        network = lpips.LPIPS(net="vgg", pretrained=False, pnet_rand=True, verbose=False)
    state = _heads(Path(lpips.__file__).parent) | {
        f"net.slice{_slice_of(int(key.split('.')[1]))}.{key.removeprefix('features.')}": value.float()
        for key, value in trunk.items()
        if key.startswith("features.")
    }
    network.scaling_layer = lpips.ScalingLayer()
    state |= {f"scaling_layer.{key}": value for key, value in network.scaling_layer.state_dict().items()}
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
        raise UsageError(f"the LPIPS trunk {path} is not a VGG16 ({reason})", hint=_TRUNK_HINT) from error
    return network


def _heads(package: Path) -> dict[str, Tensor]:
    """Return the calibrated linear heads under the two names each of them has in the network."""
    heads = torch.load(package / "weights" / "v0.1" / "vgg.pth", map_location="cpu", weights_only=True)
    return heads | {f"lins.{key.removeprefix('lin')}": value for key, value in heads.items()}


def _slice_of(layer: int) -> int:
    """Return the LPIPS slice (1 to 5) of a torchvision VGG16 feature layer."""
    return 1 + sum(layer >= first for first in (4, 9, 16, 23))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # lpips calls torchvision with an argument that torchvision deprecates.
        warnings.simplefilter("ignore")
        yield
