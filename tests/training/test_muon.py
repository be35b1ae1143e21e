"""Muon: singular values, the step of a known matrix, and what is left to AdamW."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from geotrap_cli.training.muon import Muon, orthogonalised
from geotrap_cli.training.optimizer_state import load_optimizer, save_optimizer


def make(matrix: nn.Parameter, vector: nn.Parameter, weight_decay: float = 0.0) -> Muon:
    return Muon([matrix], [vector], matrix_lr=0.1, lr=0.01, betas=(0.9, 0.95), weight_decay=weight_decay)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_singular_values_become_equal_and_their_vectors_stay(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=generator, dtype=torch.float64)
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    near = orthogonalised(matrix, rounds=8)
    assert values.max() / values.min() > 2
    found = left.mT @ near @ right.mT
    torch.testing.assert_close(found, torch.diag(found.diagonal()), atol=1e-9, rtol=0)
    assert ((found.diagonal() > 0.6) & (found.diagonal() < 1.3)).all()


def test_the_direction_does_not_depend_on_the_gradients_size_and_zero_stays_zero() -> None:
    matrix = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(orthogonalised(1e6 * matrix), orthogonalised(matrix))
    assert torch.equal(orthogonalised(torch.zeros(3, 6)), torch.zeros(3, 6))


def test_a_step_goes_down_along_the_orthogonal_factor() -> None:
    matrix, vector = nn.Parameter(torch.eye(3)), nn.Parameter(torch.ones(2))
    optimizer = make(matrix, vector, weight_decay=0.5)
    matrix.grad, vector.grad = torch.diag(torch.tensor([4.0, 2.0, -1.0])), torch.tensor([3.0, -0.1])
    expected = (1 - 0.1 * 0.5) * torch.eye(3) - 0.1 * orthogonalised(matrix.grad)
    optimizer.step()
    torch.testing.assert_close(matrix.detach(), expected)
    assert (matrix.detach().diagonal() - 0.95).sign().tolist() == [-1, -1, 1]
    # AdamW's first step has the size of its learning rate, whatever the gradient.
    torch.testing.assert_close(vector.detach(), (1 - 0.01 * 0.5) - 0.01 * torch.tensor([1.0, -1.0]))


def test_a_convolution_is_a_matrix_and_a_tall_one_steps_further() -> None:
    kernel, tall = nn.Parameter(torch.zeros(2, 3, 3, 3)), nn.Parameter(torch.zeros(8, 2))
    optimizer = Muon([kernel, tall], [], matrix_lr=0.1, lr=0.01, betas=(0.9, 0.95), weight_decay=0.0)
    kernel.grad, tall.grad = torch.randn_like(kernel), torch.randn_like(tall)
    optimizer.step()
    assert torch.linalg.svdvals(kernel.detach().flatten(1)).tolist() == pytest.approx([0.1, 0.1], rel=0.4)
    assert torch.linalg.svdvals(tall.detach()).tolist() == pytest.approx([0.2, 0.2], rel=0.4)


def test_saved_and_loaded_it_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def drive(optimizer: Muon, parameters: list[nn.Parameter], steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            for parameter in parameters:
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            optimizer.step()

    whole = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(2))]
    drive(make(whole[0], whole[1]), whole, range(6))
    first = [nn.Parameter(torch.ones(3, 4)), nn.Parameter(torch.ones(2))]
    optimizer = make(first[0], first[1])
    drive(optimizer, first, range(3))
    save_optimizer(optimizer, tmp_path)
    second = [nn.Parameter(value.detach().clone()) for value in first]
    resumed = make(second[0], second[1])
    load_optimizer(resumed, tmp_path)
    drive(resumed, second, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(whole, second, strict=True))
