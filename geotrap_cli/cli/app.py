"""The command ``geotrap`` and its verbs."""

from __future__ import annotations

from typing import Annotated

import typer

from geotrap_cli import __version__
from geotrap_cli.cli import analyze_layers, attack, compare, plugins, pretrain, profiles, runs, train
from geotrap_cli.cli.examples import epilog

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
    context_settings={"help_option_names": ["-h", "--help"]},
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


app.command("train", epilog=train.EPILOG, rich_help_panel=_JUDGE)(train.train)
app.command("attack", epilog=attack.EPILOG, rich_help_panel=_JUDGE)(attack.attack)
app.command("compare", epilog=compare.EPILOG, rich_help_panel=_JUDGE)(compare.compare)
app.command("analyze-layers", epilog=analyze_layers.EPILOG, rich_help_panel=_JUDGE)(analyze_layers.analyze_layers)
app.command("pretrain", epilog=pretrain.EPILOG, rich_help_panel=_AROUND)(pretrain.pretrain)
app.add_typer(profiles.app, name="profiles", rich_help_panel=_AROUND)
app.command("plugins", epilog=plugins.EPILOG, rich_help_panel=_AROUND)(plugins.plugins)
app.command("runs", epilog=runs.EPILOG, rich_help_panel=_AROUND)(runs.runs)
