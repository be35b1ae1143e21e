"""What ``[traps.KEY.dynamic]`` costs in arithmetic and memory: for ``--dry-run``, so nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geotrap_cli.models.generator import INPUT_CHANNELS, GaussianGenerator
from geotrap_cli.models.lgm.attention import twice_differentiable
from geotrap_cli.profile.schema import Profile
from geotrap_cli.training.cost import ObjectCost
from geotrap_cli.training.dynamic import Sensitivity, sensitivities
from geotrap_cli.training.trap_set import TrapSet

FLOAT_BYTES = 4
#: A product Jᵀv costs one backward pass. Its own backward pass runs through that and through the forward pass: three.
BACKWARD_PASSES = 4
#: What is saved for second derivatives, by what is saved for first ones with the same attention.
SAVED_AGAIN = 3.3


@dataclass(frozen=True)
class DynamicCost:
    """Cost of all sensitivity terms of a run.

    Attributes:
        flops: Floating-point operations of the whole run.
        memory: Bytes that a step on which a term is due holds on top, in float32: activations of one object, and
            gradients.
    """

    flops: float = 0.0
    memory: int = 0


def count_dynamic(profile: Profile, model: GaussianGenerator, cost: ObjectCost) -> DynamicCost:
    """Count what the profile's sensitivity terms add to its run.

    Args:
        profile: Its traps, steps and batch size count.
        model: On the meta device, with ``requires_grad`` on what is trained.
        cost: Of one object of a step without the term, on the same model.

    Raises:
        UsageError: A unit does not exist or is frozen, or a trap cannot have the term.
    """
    if all(table.dynamic is None for table in profile.traps.values()):
        return DynamicCost()
    terms = sensitivities(profile, model, TrapSet.from_profile(profile).traps)
    steps, batch = range(profile.train.steps), profile.train.batch_size
    passes = sum(any(term.due(step) for term in terms) for step in steps)
    vectors = sum(_vectors(term, model) * (profile.train.steps // term.table.every) for term in terms)
    recomputed = 2 * cost.forward if profile.model.gradient_checkpointing else 0
    backward = cost.backward - (cost.forward if profile.model.gradient_checkpointing else 0)
    flops = batch * (passes * cost.forward + vectors * (BACKWARD_PASSES * backward + recomputed))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    # One gradient for each trap, and two of the object at hand.
    return DynamicCost(flops, int(SAVED_AGAIN * _saved(model)) + (len(terms) + 2) * FLOAT_BYTES * trained)


def _vectors(term: Sensitivity, model: GaussianGenerator) -> int:
    """Products with the Jacobian of one object."""
    if term.table.estimator == "exact":
        return model.num_gaussians * term.attribute.channels
    return term.table.probes


def _saved(model: GaussianGenerator) -> int:
    """Bytes that autograd keeps of one object whose attention can be differentiated twice."""
    parameters = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    images = torch.empty(1, model.num_views, INPUT_CHANNELS, model.input_size, model.input_size, device="meta")
    with twice_differentiable(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept = model(images)
    del kept
    return sum(sizes.values())
