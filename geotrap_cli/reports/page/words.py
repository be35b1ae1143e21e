"""What a verdict means, in plain words, for readers who know none of the states."""

from __future__ import annotations

from geotrap_cli.evaluation.validity import State
from geotrap_cli.reports.comparison import Comparison

MEANING: dict[State, str] = {
    State.NOT_RUN: "A measurement that the verdict needs is missing. Nothing that was not measured counts as safe.",
    State.DIVERGED: "A loss, gradient or picture became NaN or infinite: that shows nothing about the defense.",
    State.ATTACK_WEAK: "The attack is too weak to tell: it gains too little even on undefended weights. What it fails"
    " to recover is no credit to the defense.",
    State.SOURCE_BROKEN: "The defense damages the objects that the model is for, so a stranger is not the only one who"
    " is kept from using it.",
    State.MASKED: "The attack had hardly any gradient to follow. That stops a simple attacker, and an attack that goes"
    " around it was not run, or got through.",
    State.VALID: "The attack works on undefended weights, the objects the model is for are kept, and the attack's"
    " gradients are healthy. The numbers may be believed for what was tested, and for nothing else.",
}


def belief(comparison: Comparison) -> str:
    """Return in a few words whether to believe it."""
    return "Yes, for what was tested" if comparison.verdict.state is State.VALID else "No"
