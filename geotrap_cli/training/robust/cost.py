"""What the mechanisms add to a step of the defense, counted in passes over a batch of target objects."""

from __future__ import annotations

from dataclasses import dataclass

from geotrap_cli.profile.schema import RobustTable

#: Copies of the weights while an attack is simulated: shift, gradient, the two moments of AdamW, shifted weights.
SIMULATED_COPIES = 5
#: Copies of the weights while the adversarial ones are found: gradient, shift, shifted weights.
ADVERSARIAL_COPIES = 3


@dataclass(frozen=True)
class ExtraPasses:
    """Work and memory beside those of a plain step.

    Attributes:
        forward: Forward passes.
        backward: Backward passes through the network.
        graphs: Batches whose activations are kept until the step's backward pass.
        copies: Copies of all weights held at once.
    """

    forward: int
    backward: int
    graphs: int
    copies: int


def extra_passes(table: RobustTable) -> ExtraPasses:
    """Count the passes of ``[robust]``; what treats gradients or compares them at the head adds none."""
    # The clean pass remains, for the metrics, where nothing is minimised there.
    reported_only = table.clean_weight == 0 and table.conflict is None
    forward = backward = graphs = table.places
    if reported_only:
        backward, graphs = backward - 1, graphs - 1
    if table.awp is not None:
        forward, backward = forward + 1, backward + 1
    if table.unrolled is not None:
        forward, backward = forward + table.unrolled.steps, backward + table.unrolled.steps
        # What attributes are compared with is a forward pass of the undefended generator, at most at every step.
        forward += table.unrolled.steps * ("attributes" in table.unrolled.losses)
    if table.head_attack is not None:
        # Its backward passes end at the head's input.
        forward += table.head_attack.steps
    return ExtraPasses(forward, backward, graphs, _copies(table))


def _copies(table: RobustTable) -> int:
    kept = sum(place is not None for place in (table.parameter_noise, table.awp, table.unit_reset, table.unrolled))
    passing = [kept]
    if table.awp is not None:
        passing.append(ADVERSARIAL_COPIES)
    if table.unrolled is not None:
        passing.append(SIMULATED_COPIES)
    return max(passing)
