"""Modules that can drop what is inside of their parts and compute it again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from geotrap_cli.models.divided import is_divided_module


class Checkpointed(nn.Module):
    """A module that recomputes its parts where diffusers' ``enable_gradient_checkpointing`` was called."""

    gradient_checkpointing = False
    # Set by diffusers' enable_gradient_checkpointing.
    _gradient_checkpointing_func: Callable[..., Tensor]

    def run(self, module: nn.Module, x: Tensor) -> Tensor:
        """Call ``module``; with gradient checkpointing, keep only its input for the backward pass."""
        if not (self.gradient_checkpointing and torch.is_grad_enabled()):
            return module(x)
        if is_divided_module(module):
            # It puts its weights in place at either call.
            return self._gradient_checkpointing_func(module, x)
        # The backward pass calls the module again. Under functional_call its own weights are back by then, so the
        # weights of this call are kept for that one.
        weights: dict[str, Tensor] = dict(module.named_parameters())
        return self._gradient_checkpointing_func(lambda inputs: functional_call(module, weights, (inputs,)), x)
