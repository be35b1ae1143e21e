"""``geotrap train``."""

from __future__ import annotations

from typing import Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap train",
    "geotrap train --profile pos_scale --set train.steps=400",
    "geotrap train --profile mine.toml --dry-run",
    "geotrap train --defense grad_diff --set defense.grad_diff.cap=0.3",
    "geotrap train --resume",
    next_step="geotrap attack --lora   (`geotrap profiles list` and `geotrap defenses` show what there is)",
)


@accepts("profile", "overrides", "runs", "resume", *COMPUTING)
def train(
    options: CommonOptions,
    defense: Annotated[
        str | None, typer.Option("--defense", metavar="NAME", help="The method; none: the profile's, which is geotrap.")
    ] = None,
) -> None:
    """Immunize a generator: traps on target objects, distillation on all others, or another method by --defense.

    Writes a run folder with the defended weights, the resolved profile and the metrics. Without options: the nano
    generator with its shipped weights on the procedural objects.
    """
    refuse_profile_on_resume(options)
    if defense is not None and options.resume:
        raise UsageError("--resume continues with the run's own defense", hint="leave --defense out")
    if defense is not None:
        options = options.with_overrides(f"defense.method={defense}")
    loaded = options.load_profile("train")
    if options.dry_run:
        from geotrap_cli.training.estimate import plan_defense

        show(options, ResolvedProfile(loaded, plan_defense(options, loaded)))
        return
    from geotrap_cli.training.defense import run_defense

    show(options, run_defense(options, loaded, make_console(stderr=True)))
