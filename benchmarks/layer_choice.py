"""Which layers to defend: the same traps on different units, under the same attacks.

Run ``python benchmarks/layer_choice.py --out FOLDER [--seeds 3] [--set KEY=VALUE ...]``. One analysis ranks the units;
then each choice of units is trained and attacked once a seed. Everything lies in FOLDER: ``choices.json``, the runs,
one JSON file a cell (choice, seed, attack) in ``cells``, and ``table.md``. Start it again to go on: what is finished is
not computed again.

Choices: ``top`` (the first units of any kind), ``safe`` (the first that the LoRA adapter does not reach), ``plain``
(blocks without attention), ``random`` (units of as many parameters as ``top``, drawn anew for each seed) and ``all``.
"""

from __future__ import annotations

import argparse
import dataclasses
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _grid import compare_objects, crossed_interval, finish_attacks, finish_training, values_by_object
from rich.console import Console

from geotrap_cli.atomic import write_json, write_text
from geotrap_cli.evaluation.bootstrap import Interval
from geotrap_cli.options import CommonOptions
from geotrap_cli.profile.load import LoadedProfile, load_profile
from geotrap_cli.reports.tables import format_interval
from geotrap_cli.run_folder import read_json
from geotrap_cli.sensitivity.analysis import run_analysis
from geotrap_cli.sensitivity.request import AnalysisRequest
from geotrap_cli.sensitivity.result import AnalysisResult

CHOICES = ("top", "safe", "plain", "random", "all")
WORDS = {
    "top": "first {count} units",
    "safe": "first {count} LoRA-safe units",
    "plain": "blocks without attention",
    "random": "random units, as many parameters",
    "all": "all units",
}
HEAD = ("unet.conv_out", "conv")
"""The head of LGM, which no defense here trains."""
FILLS = 200
"""Random orders tried for a set of units whose parameter count is near the wanted one."""


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        out: Where everything lies.
        profile: Traps, budgets and attacks.
        seeds: Seeds of training and attack.
        choices: Keys of :data:`CHOICES`.
        count: Units of ``top`` and ``safe``.
        samples: Samples of each side in the analysis.
        overrides: Changes of the profile.
        device: Where to compute.
    """

    out: Path
    profile: str
    seeds: int
    choices: tuple[str, ...]
    count: int
    samples: int
    overrides: tuple[str, ...]
    device: str

    @property
    def runs(self) -> Path:
        """Folder of all runs; in one place, so that attacks on the undefended weights are measured once."""
        return self.out / "runs"

    def options(self) -> CommonOptions:
        """Options that all runs share."""
        return CommonOptions(device=self.device, runs=self.runs)

    def load(self, name: str, *overrides: str) -> LoadedProfile:
        """The profile with further changes, under the name that its runs carry."""
        loaded = load_profile(self.profile, [*self.overrides, *overrides], env={})
        return dataclasses.replace(loaded, name=name)


@dataclass(frozen=True)
class UnitFacts:
    """What a choice needs to know about a unit."""

    unit: str
    parameters: int
    reached: bool
    plain: bool


def rank_units(study: Study, console: Console) -> list[UnitFacts]:
    """The units that a defense may train, the best first, from ``choices.json`` where it exists."""
    file = study.out / "choices.json"
    if not file.exists():
        result = run_analysis(study.options(), study.load("ranking"), console, AnalysisRequest(samples=study.samples))
        write_json(file, {"units": [dataclasses.asdict(facts) for facts in _facts(result)]})
    return [UnitFacts(**entry) for entry in read_json(file)["units"]]


def _facts(result: AnalysisResult) -> list[UnitFacts]:
    rows = [(score.row, score.parameters) for score in result.scores if score.row.unit not in HEAD]
    return [UnitFacts(row.unit, size, row.lora_reach, row.block_without_attention) for row, size in rows]


def choose(choice: str, ranked: Sequence[UnitFacts], count: int, seed: int) -> list[UnitFacts]:
    """The units of one choice; only ``random`` depends on the seed."""
    if choice == "random":
        return random_units(ranked, sum(facts.parameters for facts in ranked[:count]), seed)
    wanted = {
        "top": ranked[:count],
        "safe": [facts for facts in ranked if not facts.reached][:count],
        "plain": [facts for facts in ranked if facts.plain],
        "all": list(ranked),
    }[choice]
    return list(wanted)


def random_units(ranked: Sequence[UnitFacts], parameters: int, seed: int) -> list[UnitFacts]:
    """Units drawn at random whose parameter counts add up as nearly as possible to ``parameters``."""
    rng, best = np.random.default_rng(seed), list[UnitFacts]()
    for _ in range(FILLS):
        drawn, total = [], 0
        for index in rng.permutation(len(ranked)):
            if total + ranked[index].parameters <= parameters:
                drawn.append(ranked[index])
                total += ranked[index].parameters
        if total > sum(facts.parameters for facts in best):
            best = drawn
    return best


def run_choice(study: Study, choice: str, units: Sequence[UnitFacts], seed: int, console: Console) -> None:
    """Train and attack one choice with one seed, and write its cells; nothing where they exist."""
    name = f"{choice}-seed{seed}"
    names = ",".join(facts.unit for facts in units)
    loaded = study.load(name, f"layers.units={names}", f"train.seed={seed}", f"attack.seed={seed}")
    methods = loaded.profile.attack.methods
    if all((study.out / "cells" / f"{name}-{method}.json").exists() for method in methods):
        return
    train_run = finish_training(study.options(), loaded, console)
    cells = finish_attacks(study.options(), loaded, train_run, console)
    for method in methods:
        record = {
            "choice": choice,
            "seed": seed,
            "attack": method,
            "units": [facts.unit for facts in units],
            "parameters": sum(facts.parameters for facts in units),
            "objects": [dataclasses.asdict(entry) for entry in compare_objects(cells, method)],
        }
        write_json(study.out / "cells" / f"{name}-{method}.json", record)


def write_table(study: Study) -> str:
    """Write ``table.md`` from the finished cells and return it."""
    cells = [read_json(path) for path in sorted((study.out / "cells").glob("*.json"))]
    attacks = list(dict.fromkeys(cell["attack"] for cell in cells))
    lines = [
        "Defended − undefended, foreground PSNR in dB on held-out objects, mean over seeds [95 %, both resampled]; "
        "lower is better on target, 0 is best on source. − all: target after the attack, that choice − all units.",
        "",
        "| attack | layers | units | parameters | seeds | target before | target after | − all | source after |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for attack in attacks:
        found = {choice: [c for c in cells if (c["choice"], c["attack"]) == (choice, attack)] for choice in CHOICES}
        lines += [_row(study, attack, choice, found) for choice in CHOICES if found[choice]]
    text = "\n".join(lines) + "\n"
    write_text(study.out / "table.md", text)
    return text


def _row(study: Study, attack: str, choice: str, found: Mapping[str, list[dict]]) -> str:
    cells = found[choice]
    sizes = sorted({cell["parameters"] for cell in cells})
    counts = sorted({len(cell["units"]) for cell in cells})
    against = "–" if choice == "all" or not found["all"] else format_interval(_against(cells, found["all"]), 2, True)
    figures = [
        format_interval(_mean(cells, split, end), 2, True)
        for split, end in (("target", "before"), ("target", "after"), ("source", "after"))
    ]
    return (
        f"| {attack} | {WORDS[choice].format(count=study.count)} | {_span(counts)} | {_span(sizes)} | {len(cells)} "
        f"| {figures[0]} | {figures[1]} | {against} | {figures[2]} |"
    )


def _span(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"


def _mean(cells: Sequence[dict], split: str, end: str) -> Interval:
    """Mean over objects and seeds; groups and seeds are resampled."""
    return crossed_interval(*_by_object(cells, split, end))


def _against(cells: Sequence[dict], reference: Sequence[dict]) -> Interval:
    """Choice minus all units on the same seeds and objects."""
    shared = {cell["seed"] for cell in cells} & {cell["seed"] for cell in reference}
    ours, theirs = ([cell for cell in side if cell["seed"] in shared] for side in (cells, reference))
    values, groups = _by_object(ours, "target", "after")
    others, _ = _by_object(theirs, "target", "after")
    differences = {id: [a - b for a, b in zip(row, others[id], strict=True)] for id, row in values.items()}
    return crossed_interval(differences, groups)


def _by_object(cells: Sequence[dict], split: str, end: str) -> tuple[dict[str, list[float]], dict[str, str]]:
    return values_by_object((cell["objects"] for cell in cells), split, operator.itemgetter(end))


def main() -> None:
    """Run the study, or what is left of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--profile", default="pos_opacity")
    parser.add_argument("--attacks", default="lora,full", help="keys of the attacks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choices", default=",".join(CHOICES))
    parser.add_argument("--count", type=int, default=12, help="units of top and safe")
    parser.add_argument("--samples", type=int, default=32, help="samples of each side in the analysis")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE of the profile; repeatable")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    study = Study(
        given.out,
        given.profile,
        given.seeds,
        tuple(given.choices.split(",")),
        given.count,
        given.samples,
        (*given.set, f"attack.methods={given.attacks}"),
        given.device,
    )
    console = Console(stderr=True)
    ranked = rank_units(study, console)
    for seed in range(study.seeds):
        for choice in study.choices:
            run_choice(study, choice, choose(choice, ranked, study.count, seed), seed, console)
            write_table(study)
    print(write_table(study))


if __name__ == "__main__":
    main()
