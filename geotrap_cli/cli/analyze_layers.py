"""``geotrap analyze-layers``."""

from __future__ import annotations

from typing import Any

from geotrap_cli.cli import analysis_options as own
from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.sensitivity.request import AnalysisRequest

EPILOG = epilog(
    "geotrap analyze-layers --mode trap",
    "geotrap analyze-layers --traps position scale --top 12 --target-ci 0.1",
    "geotrap analyze-layers --mode attack --samples 20 --csv layers.csv",
    "geotrap analyze-layers --mode jacobian --sort leverage_scales --reach safe",
    "geotrap analyze-layers --select 12 --lora-safe",
    "geotrap analyze-layers --causal top:12 --causal-action rollback",
    next_step="geotrap train --set layers.units=UNIT,UNIT",
)


@accepts("profile", "overrides", "runs", "run", "resume", *COMPUTING)
def analyze_layers(
    options: CommonOptions,
    mode: own.ModeOption = None,
    traps: own.Traps = None,
    samples: own.Samples = None,
    target_ci: own.TargetCi = None,
    probes: own.Probes = None,
    sort: own.Sort = None,
    top: own.Top = None,
    reach: own.ReachOption = None,
    csv: own.Csv = None,
    select: own.Select = None,
    lora_safe: own.LoraSafe = None,
    causal: own.Causal = None,
    causal_action: own.CausalAction = None,
    causal_steps: own.CausalSteps = None,
) -> None:
    """Which layers tell target objects from source objects, and so where a trap belongs.

    Gradient norm of each unit on target objects divided by that on source objects, with a bootstrap interval; with
    --causal also what each unit is worth to an attacker. Works on the undefended weights, unless --run names a run of
    `geotrap train`.
    """
    request = _request(options, {name: value for name, value in locals().items() if name != "options"})
    loaded = options.load_profile("analyze-layers")
    if options.dry_run:
        from geotrap_cli.sensitivity.estimate import plan_analysis

        show(options, ResolvedProfile(loaded, plan_analysis(options, loaded, request)))
        return
    from geotrap_cli.sensitivity.analysis import run_analysis

    show(options, run_analysis(options, loaded, make_console(stderr=True), request))


def _request(options: CommonOptions, values: dict[str, Any]) -> AnalysisRequest | None:
    """What was asked for; None on ``--resume``, where the run knows.

    Raises:
        UsageError: An option could not act.
    """
    stated = {name: own.plain(value) for name, value in values.items() if value is not None}
    refuse_profile_on_resume(options)
    if options.resume and (stated or options.run):
        words = ", ".join(f"--{name.replace('_', '-')}" for name in [*stated, *(["run"] if options.run else [])])
        raise UsageError(f"--resume continues the run as it was asked for, so {words} cannot act", hint="leave it out")
    request = AnalysisRequest(**stated)
    _refuse_idle("--traps", bool(request.traps) and request.mode != "trap", "--mode trap")
    _refuse_idle("--probes", "probes" in stated and request.mode != "jacobian", "--mode jacobian")
    _refuse_idle("--lora-safe", request.lora_safe and request.select is None, "--select N")
    for name in ("causal_action", "causal_steps"):
        _refuse_idle(f"--{name.replace('_', '-')}", name in stated and request.causal is None, "--causal top:12")
    return None if options.resume else request


def _refuse_idle(option: str, idle: bool, needed: str) -> None:
    if idle:
        raise UsageError(f"{option} acts only with {needed}", hint=f"leave it out, or add {needed}")
