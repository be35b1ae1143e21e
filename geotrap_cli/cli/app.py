"""The command ``geotrap`` and its verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from geotrap_cli import __version__
from geotrap_cli.cli import (
    analyze_layers,
    attack,
    attacks,
    bench,
    compare,
    convert,
    data,
    defenses,
    export,
    generate,
    plugins,
    pretrain,
    profiles,
    runs,
    sweep,
    train,
    view,
)
from geotrap_cli.cli.examples import HELP, epilog

_JUDGE = "Protect and judge"
_AROUND = "Around it"

EPILOG = epilog(
    "geotrap train --profile pos_opacity",
    "geotrap attack --lora",
    "geotrap compare",
    "geotrap analyze-layers --mode trap",
    next_step="geotrap train --dry-run, or geotrap COMMAND --help",
) + (
    "\n\n[bold]Exit codes[/bold]  0 finished, whatever the verdict · 1 run-time error · 2 usage, profile or unreadable"
    " input · 3 a gate failed · 4 --require-valid and not VALID · 130 interrupted"
)

app = typer.Typer(
    help="Make malicious fine-tuning of 3D Gaussian generators fail, and find out whether it does.",
    epilog=EPILOG,
    rich_markup_mode="rich",
    context_settings=HELP,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"geotrap {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the program itself; every other option belongs to a command."""


for panel, name, function, ending in (
    (_JUDGE, "train", train.train, train.EPILOG),
    (_JUDGE, "attack", attack.attack, attack.EPILOG),
    (_JUDGE, "compare", compare.compare, compare.EPILOG),
    (_JUDGE, "analyze-layers", analyze_layers.analyze_layers, analyze_layers.EPILOG),
    (_AROUND, "view", view.view, view.EPILOG),
    (_AROUND, "export", export.export, export.EPILOG),
    (_AROUND, "generate", generate.generate, generate.EPILOG),
    (_AROUND, "convert", convert.convert, convert.EPILOG),
    (_AROUND, "sweep", sweep.sweep, sweep.EPILOG),
    (_AROUND, "bench", bench.bench, bench.EPILOG),
    (_AROUND, "pretrain", pretrain.pretrain, pretrain.EPILOG),
    (_AROUND, "attacks", attacks.attacks, attacks.EPILOG),
    (_AROUND, "defenses", defenses.defenses, defenses.EPILOG),
    (_AROUND, "plugins", plugins.plugins, plugins.EPILOG),
    (_AROUND, "runs", runs.runs, runs.EPILOG),
):
    app.command(name, epilog=ending, rich_help_panel=panel, context_settings=HELP)(function)
app.add_typer(data.app, name="data", rich_help_panel=_AROUND)
app.add_typer(profiles.app, name="profiles", rich_help_panel=_AROUND)
