"""``--dry-run``: what a command would train, for how long and with how much memory, without data, weights or files."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from geotrap_cli.defenses import Defense
from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.evaluation.cells import DISTILL, SUBJECTS
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import shipped_folder
from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile.load import LoadedProfile
from geotrap_cli.profile.schema import Profile, RobustTable
from geotrap_cli.runs import folder_name, resumable_run
from geotrap_cli.training.attack_plan import PlannedAttack, plan_attacks
from geotrap_cli.training.controls import control_subjects, is_controlled
from geotrap_cli.training.cost import ObjectCost, count_object, measure_rate
from geotrap_cli.training.dynamic_cost import DynamicCost, count_dynamic
from geotrap_cli.training.layer_choice import layer_choice
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.meta import meta_model
from geotrap_cli.training.precision import pick_device, resolve_precision
from geotrap_cli.training.robust.cost import extra_passes
from geotrap_cli.training.trap_set import measured_traps
from geotrap_cli.training.tuning import is_tunable

FLOAT_BYTES = 4
#: Copies of a trained weight beside the weight itself: its gradient and the two moments of AdamW.
TRAINED_COPIES = 3
#: More units than these are summed up by block, for people.
LISTED_UNITS = 24
CAVEAT = (
    "estimates: time is that of the network's passes at the speed of its heaviest layer, measured now; "
    "rendering, data and metrics come on top"
)


@dataclass(frozen=True)
class Phase:
    """One optimisation that the command runs.

    Attributes:
        name: ``train``, ``pretrain`` or the name of an attack's variant.
        runs: How often it is run.
        units: Trained parameters by unit of the generator.
        steps: Optimizer steps of each run.
        evaluations: Evaluations of each run.
        flops: Floating-point operations of each run.
        memory: Bytes of weights, gradients, moments and activations.
    """

    name: str
    runs: int
    units: dict[str, int]
    steps: int
    evaluations: int
    flops: float
    memory: int

    @property
    def trained(self) -> int:
        """Number of trained parameters."""
        return sum(self.units.values())


@dataclass(frozen=True)
class Plan:
    """What a command would do.

    Attributes:
        phases: Its optimisations, in order.
        parameters: Parameters of the generator.
        device: Where it would compute.
        rate: Floating-point operations a second, measured on that device.
        output: The run folder it would write to.
        notes: What would stop it.
        blocks: The block of each unit that lies in one.
    """

    phases: tuple[Phase, ...]
    parameters: int
    device: str
    rate: float
    output: str
    notes: tuple[str, ...]
    blocks: Mapping[str, str]

    def seconds(self, phase: Phase) -> float:
        """Estimated duration of all runs of a phase."""
        return phase.runs * phase.flops / self.rate

    def payload(self) -> dict[str, Any]:
        """Return the plan for ``--json``."""
        phases = [
            {
                "name": phase.name,
                "runs": phase.runs,
                "steps": phase.steps,
                "evaluations": phase.evaluations,
                "trained_parameters": phase.trained,
                "units": phase.units,
                "estimated_seconds": self.seconds(phase),
                "estimated_memory_bytes": phase.memory,
            }
            for phase in self.phases
        ]
        return {
            "phases": phases,
            "parameters": self.parameters,
            "device": self.device,
            "output": self.output,
            "notes": list(self.notes),
            "caveat": CAVEAT,
        }

    def lines(self) -> list[str]:
        """Return the plan for people."""
        lines = [line for phase in self.phases for line in self._phase_lines(phase)]
        lines += [f"output       {self.output}"]
        lines += [f"note         {note}" for note in self.notes]
        return [*lines, CAVEAT]

    def _phase_lines(self, phase: Phase) -> list[str]:
        listed = phase.units if len(phase.units) <= LISTED_UNITS else _by_block(phase.units, self.blocks)
        width = max(map(len, listed))
        times = f"{phase.runs} x " if phase.runs > 1 else ""
        evaluations = {0: "no evaluation", 1: "1 evaluation"}.get(phase.evaluations, f"{phase.evaluations} evaluations")
        return [
            f"{phase.name}: trains {phase.trained:,} parameters in {len(phase.units)} units; "
            f"the generator has {self.parameters:,}",
            *(f"    {unit:<{width}}  {count:>12,}" for unit, count in listed.items()),
            f"steps        {times}{phase.steps} optimizer steps, {evaluations}",
            f"time         about {duration(self.seconds(phase))} on {self.device}",
            f"memory       about {_size(phase.memory)}",
        ]


def plan_defense(options: CommonOptions, loaded: LoadedProfile) -> Plan:
    """Return what ``geotrap train`` would do.

    Raises:
        UsageError: A unit does not exist, the weights' folder is no model, or there is no trap for a defense that
            minimises traps.
    """
    profile, model = loaded.profile, meta_model(loaded.profile)
    trained = select_parameters(model, *layer_choice(model, profile))
    cost = count_object(model, profile.model.gradient_checkpointing)
    batch, key = profile.train.batch_size, profile.defense.method
    defense: Defense = build_plugin("geotrap.defenses", key, profile.defense.options(key))
    measured_traps(profile, defense)
    reads_robust = "robust" not in defense.ignores
    extra = extra_passes(profile.robust if reads_robust else RobustTable())
    steps = _steps_of(defense, profile, defense.gradients + extra.backward)
    # Of target or source objects; the teacher sees the source objects.
    step = defense.gradients * batch * (cost.forward + cost.backward) + batch * cost.forward
    step += batch * (extra.forward * cost.forward + extra.backward * cost.backward)
    # Both generators see held-out target and source objects.
    audit = 2 * 2 * profile.eval.objects * cost.forward
    memory = _memory(options, profile, model, trained, (2 + extra.graphs) * batch, cost, 1 + extra.copies)
    dynamic = count_dynamic(profile, model, cost) if reads_robust else DynamicCost()
    flops, memory = steps * step + dynamic.flops + audit, memory + dynamic.memory
    phase = Phase("train", 1, _by_unit(model, trained), steps, 1, flops, memory)
    return _plan("train", options, loaded, model, (phase,), cost)


def _steps_of(defense: Defense, profile: Profile, gradients: float) -> int:
    """Steps that a defense takes, as far as that is known before: not how many fit into ``max_seconds``."""
    if not defense.trains:
        return 0
    most = profile.defense.max_gradient_evaluations
    return profile.train.steps if most is None else min(profile.train.steps, math.ceil(most / gradients))


def plan_pretrain(options: CommonOptions, loaded: LoadedProfile) -> Plan:
    """Return what ``geotrap pretrain`` would do."""
    profile, model = loaded.profile, meta_model(loaded.profile, weights="random")
    trained = dict(model.named_parameters())
    cost = count_object(model, profile.model.gradient_checkpointing)
    train = profile.train
    evaluations = len(range(profile.pretrain.eval_every, train.steps, profile.pretrain.eval_every)) + 1
    flops = train.steps * train.batch_size * (cost.forward + cost.backward)
    flops += evaluations * profile.eval.objects * cost.forward
    memory = _memory(options, profile, model, trained, train.batch_size, cost, copies_of_all=1)
    phase = Phase("pretrain", 1, _by_unit(model, trained), train.steps, evaluations, flops, memory)
    return _plan("pretrain", options, loaded, model, (phase,), cost, weights="random")


def plan_attack(options: CommonOptions, loaded: LoadedProfile) -> Plan:
    """Return what ``geotrap attack`` would do.

    Raises:
        UsageError: An attack does not fit the generator.
    """
    profile, planned_attacks = loaded.profile, plan_attacks(loaded.profile)
    tune = profile.attack.tune.trials
    phases = [_distill_phase(options, profile)] if DISTILL in profile.attack.controls else []
    for planned in planned_attacks:
        model = meta_model(profile)
        trained = planned.attack.prepare(model)
        cost = count_object(model, profile.model.gradient_checkpointing)
        phase = _attack_phase(planned, options, profile, model, trained, cost)
        # The longest trials, and the settings found on both sets of weights.
        phases.append(phase)
        if tune and is_tunable(planned):
            phases.append(replace(phase, name=f"{phase.name}, trials", runs=len(SUBJECTS) * tune))
            phases.append(replace(phase, name=f"{phase.name}, tuned", runs=len(SUBJECTS) * phase.runs))
    return _plan("attack", options, loaded, meta_model(profile), tuple(phases), cost)


def _attack_phase(
    planned: PlannedAttack,
    options: CommonOptions,
    profile: Profile,
    model: GaussianGenerator,
    trained: Mapping[str, nn.Parameter],
    cost: ObjectCost,
) -> Phase:
    attack, objects = profile.attack, profile.eval.objects
    steps = sum(phase.steps for phase in planned.attack.phases(attack.steps))
    evaluations = min(attack.evaluations, steps) + 1
    flops = steps * attack.batch_size * (cost.forward + cost.backward)
    # Source objects are measured before and after.
    flops += (evaluations + 2) * objects * cost.forward
    memory = _memory(options, profile, model, trained, attack.batch_size, cost)
    controls = control_subjects(attack.controls) if is_controlled(planned, attack) else ()
    runs = len(SUBJECTS) + len(controls)
    return Phase(planned.method, runs, _by_unit(model, trained), steps, evaluations, flops, memory)


def _distill_phase(options: CommonOptions, profile: Profile) -> Phase:
    """The training of the control; a run of it takes its steps and layers from the run that it attacks."""
    model, steps, batch = meta_model(profile), profile.train.steps, profile.train.batch_size
    trained = select_parameters(model, *layer_choice(model, profile))
    cost = count_object(model, profile.model.gradient_checkpointing)
    flops = steps * batch * (2 * cost.forward + cost.backward)
    memory = _memory(options, profile, model, trained, batch, cost, copies_of_all=1)
    return Phase("distillation, the control", 1, _by_unit(model, trained), steps, 0, flops, memory)


def _plan(
    command: str,
    options: CommonOptions,
    loaded: LoadedProfile,
    model: GaussianGenerator,
    phases: tuple[Phase, ...],
    cost: ObjectCost,
    weights: str | None = None,
) -> Plan:
    device, precision = pick_device(options.device), loaded.profile.train.precision
    if options.resume:
        output = resumable_run(options.resume_path, command, options.runs_root).path
    else:
        output = options.runs_root / folder_name("<UTC time>", command, loaded.name)
    rate = measure_rate(cost, device, precision)
    notes = tuple(missing_weights(loaded.profile, weights or loaded.profile.model.weights))
    blocks = {unit: place.block for unit in model.units() if (place := model.place(unit)).block}
    return Plan(phases, _count(model.parameters()), str(device), rate, str(output), notes, blocks)


def _memory(
    options: CommonOptions,
    profile: Profile,
    model: GaussianGenerator,
    trained: Mapping[str, nn.Parameter],
    objects: int,
    cost: ObjectCost,
    copies_of_all: int = 0,
) -> int:
    """Bytes of weights (with ``copies_of_all`` further copies), gradients, AdamW's moments and kept activations."""
    half = resolve_precision(profile.train.precision, pick_device(options.device)) == "bf16"
    weights = (1 + copies_of_all) * _count(model.parameters()) + TRAINED_COPIES * _count(trained.values())
    return FLOAT_BYTES * weights + objects * cost.activations // (2 if half else 1)


def _by_unit(model: GaussianGenerator, parameters: Mapping[str, nn.Parameter]) -> dict[str, int]:
    units: dict[str, int] = {}
    for name, parameter in parameters.items():
        unit = _unit(model, name)
        units[unit] = units.get(unit, 0) + parameter.numel()
    return units


def _by_block(units: Mapping[str, int], blocks: Mapping[str, str]) -> dict[str, int]:
    """Sum up the units of each block, such as ``unet.down_blocks.0``."""
    gathered: dict[str, list[int]] = {}
    for unit, count in units.items():
        gathered.setdefault(blocks.get(unit, unit), []).append(count)
    return {f"{block} ({len(counts)})" if len(counts) > 1 else block: sum(counts) for block, counts in gathered.items()}


def _unit(model: GaussianGenerator, name: str) -> str:
    try:
        return model.unit_of(name)
    except GeotrapError:
        # An attack may train what it added outside of the generator's own units.
        return name


def missing_weights(profile: Profile, weights: str) -> Iterable[str]:
    """Say what is missing where ``weights`` are shipped ones that are not there."""
    if weights == "shipped":
        try:
            shipped_folder(profile.model.preset, profile.model.family)
        except UsageError as error:
            yield str(error)


def _count(parameters: Iterable[nn.Parameter]) -> int:
    return sum(parameter.numel() for parameter in parameters)


def duration(seconds: float) -> str:
    """Return a duration as people say it."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{round(minutes)} min" if minutes < 90 else f"{minutes / 60:,.1f} h"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
