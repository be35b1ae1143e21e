"""The pictures of a comparison: recovery curves of all attacks, and a contact sheet of the worst."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import DEFENDED, SUBJECTS, UNDEFENDED
from geotrap_cli.evaluation.evaluate import FLOOR, HEADLINE
from geotrap_cli.reports.comparison import Comparison
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.reports.plots import Curve, RecoveryPanel, recovery_curves
from geotrap_cli.reports.sheets import contact_sheet, psnr_caption
from geotrap_cli.reports.tables import ComparisonRow

RENDERS = "renders"
_PICTURE_WIDTH = 160
_VIEW = 0
_PANELS = 6


def draw_curves(comparison: Comparison, path: Path) -> None:
    """Draw the recovery curves on target objects of the attacks that recover most, the worst first."""
    panels = []
    for attack in comparison.attacks[:_PANELS]:
        rows = comparison.metric_rows(attack.label, HEADLINE, "target")
        curves = {subject: _curve(rows, subject) for subject in SUBJECTS}
        scale = comparison.scale
        panels.append(RecoveryPanel(attack.label, "target", **curves, floor=scale.floor_db, ceiling=scale.ceiling_db))
    recovery_curves(panels, path)


def draw_sheet(pair: AttackPair, path: Path) -> bool:
    """Draw what one attack left behind: the truth, and both sets of weights before and after it.

    The number under a picture is the foreground PSNR of the object, the mean over its views. Returns False, and draws
    nothing, where the run kept no pictures.

    Raises:
        UsageError: The pictures cannot be read.
    """
    truth = load_pictures(pair.folder(DEFENDED) / RENDERS / "truth.safetensors")
    kept = {
        subject: load_pictures(pair.folder(subject) / RENDERS / f"{pair.method}-{subject}.safetensors")
        for subject in SUBJECTS
    }
    if not truth:
        return False
    moments = [(subject, step) for subject in SUBJECTS for step in (0, pair.defended.steps)]
    headers = ["ground truth", *(_header(pair, subject, step) for subject, step in moments)]
    rows, captions = [], []
    for name in truth:
        rows.append([_picture(truth, name), *(_picture(kept[who], f"{name}@{step}") for who, step in moments)])
        white = _caption(pair, name, UNDEFENDED, 0, FLOOR)
        captions.append([f"white: {white}", *(_caption(pair, name, who, step, HEADLINE) for who, step in moments)])
    labels = [name.rpartition("/")[2] for name in truth]
    width = next(iter(truth.values())).shape[-2]
    contact_sheet(headers, rows, captions, path, max(1, _PICTURE_WIDTH // width), row_labels=labels)
    return True


def _curve(rows: Sequence[ComparisonRow], subject: str) -> Curve:
    intervals = [getattr(row.values, subject) for row in rows]
    low, high = ([getattr(interval, bound) for interval in intervals] for bound in ("low", "high"))
    known = None not in low and None not in high
    values = [interval.value for interval in intervals]
    return Curve([row.step for row in rows], values, low if known else None, high if known else None)


def _header(pair: AttackPair, subject: str, step: int) -> str:
    return f"{subject}, before" if step == 0 else f"{subject}, {step} steps of {pair.method}"


def load_pictures(path: Path) -> dict[str, Tensor]:
    """Return the pictures of a file by name, in the order of the names; none where there is no file."""
    if not path.is_file():
        return {}
    try:
        return dict(sorted(load_file(path).items()))
    except (SafetensorError, OSError) as error:
        raise UsageError(f"cannot read the pictures in {path}: {error}", hint="repeat the attack") from error


def _picture(pictures: dict[str, Tensor], name: str) -> Tensor | None:
    views = pictures.get(name)
    return None if views is None else views[_VIEW].float() / 255


def _caption(pair: AttackPair, name: str, subject: str, step: int, metric: str) -> str:
    for score in pair.scores(subject, "target", step) or []:
        if score.id == name:
            return psnr_caption(score.metrics[metric])
    return "n/a"
