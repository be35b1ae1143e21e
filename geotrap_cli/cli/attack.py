"""``geotrap attack``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from geotrap_cli.attack_choice import AttackChoice
from geotrap_cli.cli import attack_options as own
from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

EPILOG = epilog(
    "geotrap attack --lora",
    "geotrap attack lora full --set attack.steps=300",
    "geotrap attack --suite quick",
    "geotrap attack lora full --tune 20",
    "geotrap attack --full --run runs/20260101T120000Z-train-pos_opacity",
    "geotrap attack --set attack.lora.rank=64",
    next_step="geotrap compare   (`geotrap attacks` lists all attacks)",
)


@accepts("profile", "overrides", "runs", "run", "resume", *COMPUTING)
def attack(
    options: CommonOptions,
    methods: own.Methods = None,
    lora: own.Lora = False,
    full: own.Full = False,
    suite: own.Suite = None,
    tune: own.Tune = None,
    no_controls: own.NoControls = False,
    no_reuse: own.NoReuse = False,
    lpips_trunk: own.LpipsTrunk = None,
) -> None:
    """Fine-tune the released weights as an attacker would, next to the undefended ones.

    Both sets of weights get the same objects, batches, seeds and budget, and so do the controls. What a run beside
    this one has measured with the same weights, settings, objects and code is taken over. Works on the latest finished
    run of `geotrap train`, with that run's profile, unless --run or --profile says otherwise.
    """
    refuse_profile_on_resume(options)
    named = (*(methods or ()), *(["lora"] if lora else ()), *(["full"] if full else ()))
    choice = AttackChoice(named, suite, no_controls, tune)
    if options.resume and (choice.stated or lpips_trunk):
        raise UsageError("--resume continues with the run's own attacks", hint="leave out their names and options")
    if lpips_trunk:
        options = options.with_overrides(f"loss.lpips_trunk={lpips_trunk}")
    if not (options.run or options.resume):
        from geotrap_cli.runs import latest_run

        options = replace(options, run=latest_run("train", options.runs_root).path)
    loaded = choice.load(options, _teller(options))
    if options.dry_run:
        from geotrap_cli.training.estimate import plan_attack

        show(options, ResolvedProfile(loaded, plan_attack(options, loaded)))
        return
    from geotrap_cli.training.attack import run_attack

    show(options, run_attack(options, loaded, make_console(stderr=True), reuse=not no_reuse))


def _teller(options: CommonOptions) -> Callable[[str], None]:
    """Return what writes a line on stderr, unless nothing is to be told."""

    def say(text: str) -> None:
        if not options.quiet:
            make_console(stderr=True).print(text, highlight=False, soft_wrap=True)

    return say
