from __future__ import annotations

import numpy as np
import pytest
import torch

from geotrap_cli.covariance import anisotropy_loss, eigenvalues, second_moment


def vectors(count: int = 30) -> torch.Tensor:
    return torch.randn(2, count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_covariance_is_that_of_numpy() -> None:
    cloud, weights = vectors() + 4, torch.rand(2, 30, dtype=torch.float64)
    weights = weights / weights.sum(1, keepdim=True)
    plain, weighted = second_moment(cloud), second_moment(cloud, weights)
    for index in range(2):
        points = cloud[index].T.numpy()
        np.testing.assert_allclose(plain[index], np.cov(points, bias=True), atol=1e-12)
        np.testing.assert_allclose(
            weighted[index], np.cov(points, aweights=weights[index].numpy(), bias=True), atol=1e-12
        )


def test_uncentred_moment_keeps_the_mean() -> None:
    cloud = vectors() + 4
    torch.testing.assert_close(second_moment(cloud, centred=False), cloud.mT @ cloud / 30)


def test_float32_vectors_are_measured_in_float64() -> None:
    """Two points 1e-4 apart, far from the origin: float32 sums of squares would lose the spread."""
    cloud = torch.tensor([[[1000.0, 0, 0], [1000.0 + 2**-13, 0, 0]]])
    assert second_moment(cloud)[0, 0, 0].item() == pytest.approx((2**-14) ** 2)


def test_repeated_eigenvalues_have_the_gradient_of_their_mean() -> None:
    matrix = torch.eye(3, dtype=torch.float64)[None].requires_grad_()
    eigenvalues(matrix).sum().backward()
    torch.testing.assert_close(matrix.grad, torch.eye(3, dtype=torch.float64)[None])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_matrix_that_is_not_finite_gives_nan_and_leaves_the_others_alone(bad: float) -> None:
    matrices = torch.diag_embed(torch.tensor([[1.0, 2, 3], [1, 2, 3]], dtype=torch.float64))
    matrices[0, 1, 0] = bad
    matrices.requires_grad_()
    values = eigenvalues(matrices)
    assert values[0].isnan().all()
    assert values[1].tolist() == pytest.approx([1, 2, 3])
    assert anisotropy_loss(matrices, 1e-6).isnan().tolist() == [True, False]


def test_anisotropy_of_known_eigenvalues() -> None:
    matrices = torch.diag_embed(torch.tensor([[0.04, 4.0, 0.5], [0, 0, 0], [2, 2, 2]], dtype=torch.float64))
    assert anisotropy_loss(matrices, 1e-12).tolist() == pytest.approx([-np.log(100), 0, 0], abs=1e-9)
