"""``geotrap attack``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geotrap_cli.cli.examples import epilog
from geotrap_cli.cli.options import COMPUTING, accepts, refuse_profile_on_resume
from geotrap_cli.cli.output import make_console, show
from geotrap_cli.cli.resolved import ResolvedProfile
from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions

if TYPE_CHECKING:
    from geotrap_cli.profile.load import LoadedProfile

EPILOG = epilog(
    "geotrap attack --lora",
    "geotrap attack lora full --set attack.steps=300",
    "geotrap attack --suite quick",
    "geotrap attack --full --run runs/20260101T120000Z-train-pos_opacity",
    "geotrap attack --set attack.lora.rank=64",
    next_step="geotrap compare   (`geotrap attacks` lists all attacks)",
)


@accepts("profile", "overrides", "runs", "run", "resume", *COMPUTING)
def attack(
    options: CommonOptions,
    methods: Annotated[
        list[str] | None, typer.Argument(metavar="[ATTACK]...", help="Attacks by key; none: those of the profile.")
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="The attack lora.", rich_help_panel="Attacks")] = False,
    full: Annotated[bool, typer.Option("--full", help="The attack full.", rich_help_panel="Attacks")] = False,
    suite: Annotated[
        str | None,
        typer.Option(
            "--suite",
            metavar="quick|full|adaptive",
            help="One attack of each kind, every attack, or those aimed at the defense.",
            rich_help_panel="Attacks",
        ),
    ] = None,
    no_reuse: Annotated[
        bool,
        typer.Option("--no-reuse", help="Also run what another run has measured.", rich_help_panel="Attacks"),
    ] = False,
    lpips_trunk: Annotated[
        Path | None,
        typer.Option(
            "--lpips-trunk",
            metavar="FILE",
            help="VGG16 weights for LPIPS; none: torch's hub cache.",
            rich_help_panel="Attacks",
        ),
    ] = None,
) -> None:
    """Fine-tune the released weights as an attacker would, next to the undefended ones.

    Both sets of weights get the same objects, batches, seeds and budget. What a run beside this one has measured with
    the same weights, settings, objects and code is taken over. Works on the latest finished run of `geotrap train`,
    with that run's profile, unless --run or --profile says otherwise.
    """
    refuse_profile_on_resume(options)
    named = (*(methods or ()), *(["lora"] if lora else ()), *(["full"] if full else ()))
    suite_keys = _suite(suite)
    chosen = (*named, *suite_keys)
    if options.resume and (chosen or lpips_trunk):
        raise UsageError("--resume continues with the run's own attacks", hint="leave out their names and options")
    if chosen:
        options = options.with_overrides(f"attack.methods={','.join(dict.fromkeys(chosen))}")
    if lpips_trunk:
        options = options.with_overrides(f"loss.lpips_trunk={lpips_trunk}")
    if not (options.run or options.resume):
        from geotrap_cli.runs import latest_run

        options = replace(options, run=latest_run("train", options.runs_root).path)
    loaded = options.load_profile("attack", seed_table="attack")
    left_out = _left_out([key for key in suite_keys if key not in named], loaded, options)
    if left_out:
        kept = [key for key in dict.fromkeys(chosen) if key not in left_out]
        options = options.with_overrides(f"attack.methods={','.join(kept)}")
        loaded = options.load_profile("attack", seed_table="attack")
    if options.dry_run:
        from geotrap_cli.training.estimate import plan_attack

        show(options, ResolvedProfile(loaded, plan_attack(options, loaded)))
        return
    from geotrap_cli.training.attack import run_attack

    show(options, run_attack(options, loaded, make_console(stderr=True), reuse=not no_reuse))


def _left_out(keys: Sequence[str], loaded: LoadedProfile, options: CommonOptions) -> frozenset[str]:
    """Return which attacks of a suite cannot run, and say which option each lacks."""
    from geotrap_cli.suites import lacking

    found = lacking(keys, loaded.profile)
    for key, option in found.items() if not options.quiet else ():
        make_console(stderr=True).print(f"{key} is left out: {option} is not set", highlight=False, soft_wrap=True)
    return frozenset(found)


def _suite(name: str | None) -> tuple[str, ...]:
    if name is None:
        return ()
    from geotrap_cli.plugins import suggestion
    from geotrap_cli.suites import SUITES

    if name not in SUITES:
        raise UsageError(f"unknown suite '{name}'", hint=suggestion(name, SUITES))
    return SUITES[name]()
