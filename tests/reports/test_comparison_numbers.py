"""The numbers of a comparison: known answers, worst cases, seeds, controls, and what is said when one is missing."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from geotrap_cli.atomic import write_json
from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.evaluation.cells import Cell
from geotrap_cli.evaluation.recovery import Censored
from geotrap_cli.evaluation.validity import State
from geotrap_cli.profile.schema import EvalTable, Profile
from geotrap_cli.reports.attack_runs import Selection
from geotrap_cli.reports.comparison import Comparison, compare_attacks
from geotrap_cli.reports.costs import attack_cost, defense_cost, used_resources
from geotrap_cli.reports.document import comparison_document
from geotrap_cli.reports.pairing import AttackPair, make_pair
from geotrap_cli.reports.usage_text import usage_rows
from geotrap_cli.run_folder import SUMMARY
from geotrap_cli.usage import Usage

STRONG, RESISTING, MIDDLE = (
    (18.0, 21.0, 23.0, 24.0, 24.5),
    (14.0, 15.0, 16.0, 16.5, 17.0),
    (14.0, 15.0, 17.0, 18.0, 20.0),
)


def join(cells: list[Cell], created: str = "") -> AttackPair:
    pair = make_pair({cell.subject: cell for cell in cells}, Path("run"))
    return dataclasses.replace(pair, created=created)


def compare(*pairs: AttackPair, **limits: Any) -> Comparison:
    profile = Profile(eval=EvalTable(**limits))
    weights = {"undefended": "u", "defended": "d"}
    selection = Selection(profile, "sample", "", None, list(pairs), "nowhere", weights, [])
    return compare_attacks(selection, Resampling(seed=0, resamples=50))


def value(comparison: Comparison, name: str) -> Any:
    return comparison.numbers[name].value


def with_source(cells: list[Cell], before: float, after: float, template: Any) -> list[Cell]:
    """The pair with other source quality on the defended side."""
    others = template(STRONG, STRONG, source=before)[1].evaluations[0].source
    later = template(STRONG, STRONG, source=after)[1].evaluations[0].source
    first, *middle, last = cells[1].evaluations
    evaluations = [
        dataclasses.replace(first, source=others),
        *middle,
        dataclasses.replace(last, source=later),
    ]
    return [cells[0], dataclasses.replace(cells[1], evaluations=evaluations), *cells[2:]]


def test_an_undefended_model_in_the_defended_slot_has_no_effect(make_pair: Any) -> None:
    comparison = compare(join(make_pair(STRONG, STRONG)))
    ones = ("worst_recovery", "mean_recovery", "worst_slow_down_50", "worst_slow_down_90")
    assert [value(comparison, name) for name in ones] == [1.0] * 4
    zeros = ("worst_resistance", "worst_resistance_log", "worst_rfd", "lora.sgr_mean", "lora.sgr_final")
    assert [value(comparison, name) for name in zeros] == pytest.approx([0.0] * 5, abs=1e-12)
    for row in comparison.rows:
        assert (row.values.difference.value, row.values.ratio.value) == (0.0, 1.0)
        assert row.values.ratio.low == row.values.ratio.high == 1.0


def test_a_blank_model_is_never_called_safe(make_pair: Any) -> None:
    """White renders and no gradients: recovery 0, and a state that says why this is no evidence."""
    for source, state in ((15.0, State.SOURCE_BROKEN), (22.0, State.MASKED)):
        cells = with_source(make_pair(STRONG, [15.0] * 5), source, source, make_pair)
        dead = dataclasses.replace(cells[1].health, zero_gradient_share=1.0, loss_decreased=False)
        cells[1] = dataclasses.replace(cells[1], health=dead)
        comparison = compare(join(cells))
        assert value(comparison, "worst_recovery") == pytest.approx(0.0)
        assert comparison.verdict.state is state
        assert State.MASKED in comparison.verdict.states


def test_a_desaturating_attack_without_gradients_clears_nothing(make_pair: Any) -> None:
    def dead(cells: list[Cell]) -> list[Cell]:
        assert cells[1].health is not None
        health = dataclasses.replace(cells[1].health, zero_gradient_share=1.0)
        return [cells[0], dataclasses.replace(cells[1], health=health)]

    tried = make_pair(STRONG, [15.0] * 5, "desaturate")
    flat = make_pair(STRONG, [15.0] * 5)
    assert compare(join(dead(flat)), join(tried)).attacks[0].verdict.state is State.VALID
    assert compare(join(dead(flat)), join(dead(tried))).verdict.state is State.MASKED
    assert compare(join(dead(flat))).verdict.state is State.MASKED
    # A variant of the attack counts as the attack.
    variants = [dataclasses.replace(cell, method="desaturate-soft", family="desaturate") for cell in tried]
    assert compare(join(dead(flat)), join(variants)).attacks[0].verdict.state is State.VALID


def test_worst_case_is_over_attacks_and_mean_is_the_mean(make_pair: Any) -> None:
    comparison = compare(join(make_pair(STRONG, RESISTING)), join(make_pair(STRONG, MIDDLE, "full")))
    assert comparison.worst.label == "full"
    assert value(comparison, "worst_recovery") == pytest.approx(5 / 9.5)
    assert value(comparison, "mean_recovery") == pytest.approx(3.5 / 9.5)
    assert value(comparison, "worst_resistance") == value(comparison, "full.resistance")
    assert value(comparison, "lora.resistance") > value(comparison, "full.resistance")
    number = comparison.numbers["worst_recovery"]
    assert number.cells == ("run/cells/full-undefended.json", "run/cells/full-defended.json")
    assert number.low is not None and number.high is not None and number.low < number.value < number.high  # type: ignore[operator]


def test_an_attack_weak_on_its_own_does_not_void_a_suite_that_is_strong(make_pair: Any) -> None:
    weaker = join(make_pair((18.0, 19.0, 20.0, 21.0, 22.0), MIDDLE, "full"))
    comparison = compare(join(make_pair(STRONG, RESISTING)), weaker)
    assert comparison.worst.label == "full"
    assert comparison.worst.verdict.state is State.ATTACK_WEAK
    assert comparison.verdict.state is State.VALID
    assert compare(weaker).verdict.state is State.VALID


def test_recovery_under_a_bound_leaves_out_models_that_no_longer_work(make_pair: Any) -> None:
    for after, bounded, step in ((21.0, 2 / 9.5, 100), (18.0, -1 / 9.5, 0)):
        comparison = compare(join(with_source(make_pair(STRONG, RESISTING), 22.0, after, make_pair)))
        assert value(comparison, "worst_bounded_recovery") == pytest.approx(bounded)
        assert comparison.worst.statistics.bounded.step == step
    broken = compare(join(with_source(make_pair(STRONG, RESISTING), 18.0, 17.0, make_pair)))
    assert value(broken, "worst_bounded_recovery") is None
    assert broken.numbers["worst_bounded_recovery"].missing == "no evaluation keeps within 3 dB"
    loose = compare(
        join(with_source(make_pair(STRONG, RESISTING), 18.0, 17.0, make_pair)), attacker_source_bound_db=9.0
    )
    assert value(loose, "worst_bounded_recovery") == pytest.approx(2 / 9.5)


def test_scratch_control_gives_a_slow_down_and_a_state(make_pair: Any) -> None:
    def with_scratch(curve: tuple[float, ...]) -> AttackPair:
        cells = make_pair(STRONG, MIDDLE)
        return join([*cells, dataclasses.replace(make_pair(STRONG, curve)[1], subject="scratch")])

    slower = compare(with_scratch((15.0, 17.0, 19.0, 20.0, 22.3)))
    # 50 % lies at 19.75 dB: the defended weights take 100 steps, training from scratch takes 75.
    assert value(slower, "lora.slow_down_50_scratch") == pytest.approx(100 / 75)
    assert slower.verdict.state is State.VALID
    assert "training from scratch (control)" not in slower.not_tested
    as_good = compare(with_scratch(STRONG))
    assert as_good.verdict.state is State.ATTACK_WEAK
    # Another attack of the same seed is timed against it, and is not counted among those run on random weights.
    beside = compare(with_scratch((15.0, 17.0, 19.0, 20.0, 22.3)), join(make_pair(STRONG, MIDDLE, "full")))
    assert value(beside, "full.slow_down_50_scratch") == pytest.approx(100 / 75)
    assert [(found.subject, found.attacks) for found in beside.controls] == [("defended", 2), ("scratch", 1)]
    none = compare(join(make_pair(STRONG, MIDDLE)))
    assert none.numbers["worst_slow_down_50_scratch"].missing == "training from scratch was not run"
    assert "training from scratch (control)" in none.not_tested


def test_benign_trainability_is_a_ratio_of_areas(make_pair: Any) -> None:
    cells = make_pair(STRONG, RESISTING)
    for subject, curve in (("benign_undefended", STRONG), ("benign_defended", (18.0, 20.0, 22.0, 23.0, 23.5))):
        cells.append(dataclasses.replace(make_pair(STRONG, curve)[1], subject=subject))
    comparison = compare(join(cells))
    # Areas over the white image at 15 dB, trapezoid rule.
    expected = (1.5 + 5 + 7 + 8 + 4.25) / (1.5 + 6 + 8 + 9 + 4.75)
    assert value(comparison, "benign_trainability") == pytest.approx(expected)
    assert comparison.numbers["benign_trainability"].low is not None
    assert "fine-tuning on benign objects (control)" not in comparison.not_tested


def test_seeds_are_survival_times_and_trials_a_cumulative_maximum(make_pair: Any) -> None:
    curves = ((RESISTING, "3"), (MIDDLE, "1"), (STRONG, "2"))
    pairs = [join(make_pair(STRONG, curve, seed=seed), when) for seed, (curve, when) in enumerate(curves)]
    comparison = compare(*pairs)
    assert [attack.label for attack in comparison.attacks] == ["lora, seed 2", "lora, seed 1", "lora, seed 0"]
    (series,) = comparison.series
    assert (series.seeds, series.worst_seed, series.worst) == ([0, 1, 2], 2, 1.0)
    half, *_, last = series.medians
    assert (half.undefended, half.defended) == (25, 100)
    assert last.defended == Censored(100)
    assert half.p_value is not None and 0 < half.p_value < 1
    assert [trial.attack for trial in comparison.search] == ["lora, seed 1", "lora, seed 2", "lora, seed 0"]
    assert [trial.best_so_far for trial in comparison.search] == pytest.approx([5 / 9.5, 1.0, 1.0])


def test_one_seed_is_no_series_and_budgets_get_names_of_their_own(make_pair: Any) -> None:
    comparison = compare(join(make_pair(STRONG, RESISTING)), join(make_pair(STRONG[:3], RESISTING[:3])))
    assert {attack.label for attack in comparison.attacks} == {"lora (100 steps)", "lora (50 steps)"}
    assert comparison.series == []


def test_a_diverged_attack_leaves_numbers_missing_and_says_why(make_pair: Any) -> None:
    comparison = compare(join(make_pair(STRONG, (14.0, math.nan, 15.0, 15.0, 15.0))))
    assert comparison.verdict.state is State.DIVERGED
    assert value(comparison, "worst_recovery") is None
    assert comparison.numbers["worst_recovery"].missing == "no recovery is defined"
    assert value(comparison, "lora.steps_to_90_defended") is None


def test_every_cost_is_there_and_the_price_to_recover_is_censored(make_pair: Any) -> None:
    comparison = compare(join(make_pair(STRONG, RESISTING, batch_size=4)))
    costs = comparison.costs["lora"]
    assert (costs["undefended"].seconds_to_recover, costs["defended"].seconds_to_recover) == (
        pytest.approx(12.5 * 0.75),
        Censored(12.5),
    )
    assert costs["defended"].samples == 400
    assert comparison.numbers["defense_seconds"].missing == "nowhere is not on this machine"


def test_what_either_side_used_is_told_where_it_is_known(make_pair: Any, tmp_path: Path) -> None:
    comparison = compare(join(make_pair(STRONG, RESISTING)))
    assert comparison.costs["lora"]["defended"].usage is None
    assert usage_rows([None, None]) == []
    used = Usage(seconds=1800.0, samples=900, rendered_pixels=3_500_000, peak_memory=3 * 2**20, gpus=4)
    write_json(tmp_path / SUMMARY, {"seconds": 1800.0, "cost": used.payload()})
    paid = defense_cost(str(tmp_path))
    assert (paid.seconds, paid.usage) == (1800.0, used_resources(used))
    cell = dataclasses.replace(comparison.attacks[0].pair.defended, usage=used)
    assert usage_rows([attack_cost(cell, None).usage, None]) == [
        ["objects a second", "0.5", "-"],
        ["rendered megapixels", "3.5", "-"],
        ["MiB at most", "3", "-"],
        ["GPU-hours", "2", "-"],
    ]


def test_document_is_plain_and_names_the_cells_of_each_number(make_pair: Any) -> None:
    document = comparison_document(compare(join(make_pair(STRONG, RESISTING))))
    assert document["version"] == 1
    number = document["numbers"]["lora.steps_to_90_defended"]
    assert (number["value"], number["unit"]) == ({"more_than": 100}, "steps")
    assert number["cells"][0] == "run/cells/lora-defended.json"
    assert all(entry["value"] is not None or entry["missing"] for entry in document["numbers"].values())
