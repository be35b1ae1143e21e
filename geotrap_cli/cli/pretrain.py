"""``geotrap pretrain``."""

from __future__ import annotations

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.options import CommonOptions

DEFAULT_PROFILE = "nano_pretrain"

EPILOG = epilog(
    "geotrap pretrain",
    "geotrap pretrain --profile mine.toml --device cuda:0",
    "geotrap pretrain --resume",
    next_step="geotrap train --set model.weights=runs/.../model",
)


@accepts("profile", "overrides", "runs", "resume", *COMPUTING)
def pretrain(options: CommonOptions) -> None:
    """Train a generator from scratch, without target and benign categories.

    Without --profile: nano_pretrain, which makes the shipped nano weights.
    """
    refuse_profile_on_resume(options)
    loaded = options.load_profile("pretrain", DEFAULT_PROFILE)
    if options.dry_run:
        from geotrap_cli.training.estimate import plan_pretrain

        show(options, ResolvedProfile(loaded, plan_pretrain(options, loaded)))
        return
    from geotrap_cli.training.pretrain import run_pretrain

    show(options, run_pretrain(options, loaded, make_console(stderr=True)))
