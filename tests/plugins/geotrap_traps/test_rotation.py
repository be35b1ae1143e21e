from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from geotrap_traps.rotation import RotationConfig, RotationTrap, rotation_matrices
from scipy.spatial.transform import Rotation

from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate

Cloud = Callable[..., GaussianBatch]
PRINCIPAL = RotationTrap(RotationConfig(mode="principal_axis"))


def quats(count: int, spread: float = 10.0) -> torch.Tensor:
    noise = torch.randn(1, count, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return F.normalize(torch.tensor([1.0, 0, 0, 0]).double() + spread * noise, dim=-1)


def test_matrices_are_those_of_scipy() -> None:
    wxyz = quats(20)[0]
    expected = Rotation.from_quat(wxyz[:, [1, 2, 3, 0]].numpy()).as_matrix()
    torch.testing.assert_close(rotation_matrices(wxyz), torch.from_numpy(expected))


def test_known_value(cloud: Cloud) -> None:
    """Quarter turns about x and y send e_z to -e_y and e_x; the mean of r rᵀ is diag(1/4, 1/4, 1/2)."""
    h = math.sqrt(0.5)
    turns = torch.tensor([[[1, 0, 0, 0], [0, 0, 0, 1.0], [h, h, 0, 0], [h, 0, h, 0]]])
    loss = RotationTrap().loss(cloud(quats=turns))
    assert loss.item() == pytest.approx(-math.log((0.5 + 1e-6) / (0.25 + 1e-6)), abs=1e-6)


def test_the_second_moment_is_not_centred(cloud: Cloud) -> None:
    aligned = torch.tensor([[[1.0, 0, 0, 0]]]).expand(1, 5, 4)
    assert RotationTrap().loss(cloud(quats=aligned)).item() == pytest.approx(-math.log((1 + 1e-6) / 1e-6), rel=1e-9)


def test_a_quaternion_and_its_negative_are_one_rotation(cloud: Cloud) -> None:
    turns = quats(9)
    torch.testing.assert_close(RotationTrap().loss(cloud(quats=-turns)), RotationTrap().loss(cloud(quats=turns)))


def test_principal_axis_follows_the_longest_axis(cloud: Cloud) -> None:
    turns = quats(12)
    for axis in range(3):
        scales = torch.full((1, 12, 3), 0.01).double()
        scales[..., axis] = 0.1
        axes = rotation_matrices(turns)[0, :, :, axis]
        eigenvalues = torch.linalg.eigvalsh(axes.T @ axes / 12)
        expected = -torch.log((eigenvalues[2] + 1e-6) / (eigenvalues[0] + 1e-6))
        torch.testing.assert_close(PRINCIPAL.loss(cloud(quats=turns, scales=scales))[0], expected)


def test_modes_differ_unless_z_is_longest(healthy: GaussianBatch) -> None:
    assert (RotationTrap().loss(healthy) - PRINCIPAL.loss(healthy)).abs().min() > 1e-3
    activated = healthy.activated.clone()
    activated[..., CHANNELS["scales"]] = torch.tensor([0.01, 0.01, 0.1]).double()
    batch = GaussianBatch(activated)
    torch.testing.assert_close(RotationTrap().loss(batch), PRINCIPAL.loss(batch))


def test_aligning_deepens_steadily(cloud: Cloud) -> None:
    path = [RotationTrap().loss(cloud(quats=quats(40, spread=0.5**step))).item() for step in range(10)]
    assert path == sorted(path, reverse=True)


@pytest.mark.parametrize("trap", [RotationTrap(), PRINCIPAL], ids=["z_axis", "principal_axis"])
def test_descent_aligns_and_leaves_the_scales_alone(trap: RotationTrap, healthy_raw: torch.Tensor) -> None:
    raw = healthy_raw.clone().requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        trap.loss(activate(raw)).sum().backward()
        optimizer.step()
    batch = activate(raw.detach())
    longest = batch.scales.argmax(-1) if trap is PRINCIPAL else torch.full((2, 24), 2)
    axes = rotation_matrices(batch.quats).gather(-1, longest[..., None, None].expand(-1, -1, 3, 1))[..., 0]
    assert (torch.linalg.eigvalsh(axes.mT @ axes / 24)[:, 0] < 0.01).all()
    assert torch.equal(raw.detach()[..., CHANNELS["scales"]], healthy_raw[..., CHANNELS["scales"]])
