"""An analysis that goes on: with its own request, on its own weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geotrap_cli.errors import UsageError
from geotrap_cli.options import CommonOptions
from geotrap_cli.runs import resumable_run
from geotrap_cli.sensitivity.request import AnalysisRequest

COMMAND = "analyze-layers"


def resumed(options: CommonOptions) -> tuple[AnalysisRequest, CommonOptions]:
    """The request of the run that ``--resume`` means, and the options with the weights that it analyses.

    Raises:
        UsageError: There is no such unfinished run, or it ended before it noted its request.
    """
    run = resumable_run(options.resume_path, COMMAND, options.runs_root)
    manifest = run.manifest
    if "request" not in manifest:
        raise UsageError(f"{run.path} ended before it began", hint=f"Start a new run with geotrap {COMMAND}")
    weights = manifest["analysed"]
    # Named: the newest unfinished run is another one as soon as this one goes on.
    options = replace(options, resume=str(run.path), run=None if weights is None else Path(weights))
    return AnalysisRequest.from_record(manifest["request"]), options
