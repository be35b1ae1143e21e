"""Values that would change nothing: an accepted option acts, or it is an error."""

from __future__ import annotations

from geotrap_cli.profile.idle_defense import check_defense
from geotrap_cli.profile.idle_dynamic import check_dynamic
from geotrap_cli.profile.idle_robust import check_robust
from geotrap_cli.profile.problems import Problems
from geotrap_cli.profile.schema import AggregationTable, AttackTable, LossTable, PretrainTable, Profile, RetainTable

TEMPERED_METHODS = ("logsumexp", "pairwise")
"""The aggregation methods that have a temperature."""


def check_idle(profile: Profile, problems: Problems, suite: bool = False) -> None:
    """Note every value that differs from its default and that nothing would read.

    A resolved profile states every value, so that only one that differs from the default was meant to act, and none
    of those in the profile of a run, which may be older than the defaults. A ``suite`` of attacks chooses the controls
    where the profile names none.
    """
    method, temperature = profile.aggregation.method, profile.aggregation.temperature
    if method not in TEMPERED_METHODS and temperature != AggregationTable().temperature:
        problems.add_idle("aggregation.temperature", f"method '{method}' has no temperature; remove it")
    if profile.loss.perceptual == "none" and profile.loss.perceptual_weight != LossTable().perceptual_weight:
        problems.add_idle(
            "loss.perceptual_weight", "loss.perceptual is 'none', so there is nothing to weigh; remove it"
        )
    if profile.retain.render_weight == 0 and profile.retain.render_views != RetainTable().render_views:
        problems.add_idle("retain.render_views", "retain.render_weight is 0, so nothing is rendered; remove it")
    if profile.eval.split == "validation" and profile.data.set_aside == 0:
        problems.add("eval.split", "'validation' needs source objects to measure; add data.set_aside=0.2")
    _check_controls(profile.attack, problems, suite)
    _check_pretrain(profile.pretrain, problems)
    check_dynamic(profile, problems)
    check_robust(profile, problems)
    check_defense(profile, problems)


def _check_controls(table: AttackTable, problems: Problems, suite: bool) -> None:
    if table.control_attacks and not (table.controls or suite):
        problems.add_idle("attack.control_attacks", "attack.controls is empty, so there are none to run; remove it")
    if stray := [key for key in table.control_attacks if key not in table.methods]:
        problems.add_idle("attack.control_attacks", f"'{stray[0]}' is not among attack.methods; name it there too")


def _check_pretrain(table: PretrainTable, problems: Problems) -> None:
    default = PretrainTable()
    if table.optimizer != "muon" and table.matrix_lr != default.matrix_lr:
        problems.add_idle("pretrain.matrix_lr", f"pretrain.optimizer is '{table.optimizer}'; remove it")
    if table.surface_weight == 0:
        for name in ("surface_fraction", "surface_floor", "rendering_from"):
            if getattr(table, name) != getattr(default, name):
                problems.add_idle(f"pretrain.{name}", "pretrain.surface_weight is 0, so there is no warm-up; remove it")
