"""``geotrap analyze-layers --dry-run``: what would be measured and attacked, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile
from geotrap_cli.runs import folder_name
from geotrap_cli.sensitivity.causal import changeable_units, check_causal, count_causal, first_attack
from geotrap_cli.sensitivity.interventions import ROLLBACK
from geotrap_cli.sensitivity.plan import Plan
from geotrap_cli.sensitivity.request import AnalysisRequest
from geotrap_cli.sensitivity.resumed import resumed
from geotrap_cli.training.cost import ObjectCost, count_object, measure_rate
from geotrap_cli.training.estimate import CAVEAT, duration, missing_weights
from geotrap_cli.training.meta import meta_model
from geotrap_cli.training.precision import pick_device

SIDES = 2


@dataclass(frozen=True)
class CausalPlan:
    """The attacks of ``--causal``.

    Attributes:
        method: The attack.
        action: ``freeze``, ``reset`` or ``rollback``.
        units: Units that are taken out, one at a time.
        attacks: How often the attack is run.
        evaluations: How often the held-out target objects are measured.
        steps: Optimizer steps of each attack.
        flops: Floating-point operations of all of it.
    """

    method: str
    action: str
    units: int
    attacks: int
    evaluations: int
    steps: int
    flops: float


@dataclass(frozen=True)
class AnalysisPlan:
    """What the command would do.

    Attributes:
        samples: Samples of each side, at first and, without ``--target-ci``, in all.
        target_ci: Relative half-width at which sampling ends; None: after ``samples``.
        backward_passes: Backward passes a sample.
        flops: Floating-point operations of these samples.
        causal: The attacks; None where none were asked for.
        device: Where it would compute.
        rate: Floating-point operations a second, measured on that device.
        output: The run folder it would write to.
        notes: What would stop it.
    """

    samples: int
    target_ci: float | None
    backward_passes: int
    flops: float
    causal: CausalPlan | None
    device: str
    rate: float
    output: str
    notes: tuple[str, ...]

    @property
    def seconds(self) -> float:
        """Estimated duration."""
        return (self.flops + (self.causal.flops if self.causal else 0)) / self.rate

    def payload(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        causal = self.causal and {
            "attack": self.causal.method,
            "action": self.causal.action,
            "units": self.causal.units,
            "attacks": self.causal.attacks,
            "evaluations": self.causal.evaluations,
            "steps": self.causal.steps,
            "estimated_seconds": self.causal.flops / self.rate,
        }
        return {
            "samples_a_side": self.samples,
            "target_ci": self.target_ci,
            "backward_passes_a_sample": self.backward_passes,
            "causal": causal,
            "estimated_seconds": self.seconds,
            "device": self.device,
            "output": self.output,
            "notes": list(self.notes),
            "caveat": CAVEAT,
        }

    def lines(self) -> list[str]:
        """Return the plan for people."""
        more = f", then more until every interval is within {self.target_ci:.1%}" if self.target_ci else ""
        passes = "1 backward pass" if self.backward_passes == 1 else f"{self.backward_passes} backward passes"
        lines = [f"samples      {self.samples} of each side{more}; 1 forward and {passes} a sample"]
        if self.causal is not None:
            c = self.causal
            attacks = "1 attack" if c.attacks == 1 else f"{c.attacks} attacks"
            lines.append(f"causal       {c.action} {c.units} units: {attacks} ({c.method}) of {c.steps} steps")
        lines.append(f"time         about {duration(self.seconds)} on {self.device}")
        lines += [f"output       {self.output}", *(f"note         {note}" for note in self.notes)]
        return [*lines, CAVEAT]


def plan_analysis(options: CommonOptions, loaded: LoadedProfile, request: AnalysisRequest | None) -> AnalysisPlan:
    """Return what ``geotrap analyze-layers`` would do.

    Raises:
        UsageError: A trap, a column or a unit does not exist.
    """
    output = options.runs_root / folder_name("<UTC time>", "analyze-layers", loaded.name)
    if options.resume:
        request, options = resumed(options)
        output = options.resume_path or output
    request = request or AnalysisRequest()
    profile, plan = loaded.profile, Plan.of(request, loaded.profile)
    model = meta_model(profile)
    model.requires_grad_(True)
    cost, device = count_object(model, profile.model.gradient_checkpointing), pick_device(options.device)
    flops = SIDES * request.samples * (cost.forward + plan.backward_passes * cost.backward)
    return AnalysisPlan(
        request.samples,
        request.target_ci,
        plan.backward_passes,
        flops,
        _plan_causal(request, profile, model, cost),
        str(device),
        measure_rate(cost, device, profile.train.precision),
        str(output),
        tuple(missing_weights(profile, profile.model.weights)),
    )


def _plan_causal(
    request: AnalysisRequest, profile: Profile, model: GaussianGenerator, cost: ObjectCost
) -> CausalPlan | None:
    if request.causal is None:
        return None
    changeable = changeable_units(model, profile, request.causal_action)
    check_causal(request.causal, list(model.units()), changeable)
    units, planned = count_causal(request.causal, changeable), first_attack(profile)
    attacks = 1 if request.causal_action == ROLLBACK else 1 + units
    # Before and after each attack, and after each unit that is rolled back.
    evaluations = 2 * attacks + (units if request.causal_action == ROLLBACK else 0)
    steps = sum(phase.steps for phase in planned.attack.phases(request.causal_steps))
    flops = attacks * steps * profile.attack.batch_size * (cost.forward + cost.backward)
    flops += evaluations * profile.eval.objects * cost.forward
    return CausalPlan(planned.method, request.causal_action, units, attacks, evaluations, steps, flops)
