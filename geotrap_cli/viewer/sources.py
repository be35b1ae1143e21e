"""Where the Gaussians of an attack come from: what its run kept of them, else its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import SUBJECTS
from geotrap_cli.evaluation.kept_gaussians import KeptGaussians, kept_file, read_kept
from geotrap_cli.reports.pairing import SPLITS, AttackPair, Split
from geotrap_cli.viewer.rebuild import rebuild

REBUILT_OBJECTS = 3
"""Objects of each split that are made anew where none were kept."""


@dataclass(frozen=True)
class AttackGaussians:
    """What there is to see of one attack.

    Attributes:
        pair: The attack.
        kept: Gaussians by subject.
        note: What whoever looks at them has to know; empty for nothing.
    """

    pair: AttackPair
    kept: Mapping[str, KeptGaussians]
    note: str = ""

    @property
    def objects(self) -> dict[str, Split]:
        """The objects with the split each is of, target objects first."""
        names = {name for kept in self.kept.values() for name in kept.objects}
        return {name: split for split in SPLITS for name in _measured(self.pair, split) if name in names}

    def steps(self, name: str) -> list[int]:
        """Return the steps after which there is something to see of an object, ascending."""
        return sorted({step for kept in self.kept.values() for step in kept.steps(name)})


def keeps_gaussians(pair: AttackPair, subject: str) -> bool:
    """Whether the run of a cell kept Gaussians along the way."""
    return kept_file(pair.folder(subject), pair.method, subject).is_file()


def expected(pair: AttackPair) -> dict[str, list[int]]:
    """Return the objects and steps that `open_attack` would find, without computing anything.

    Raises:
        UsageError: A file is damaged.
    """
    if any(keeps_gaussians(pair, subject) for subject in SUBJECTS):
        kept = {subject: _read(pair, subject) for subject in SUBJECTS}
        found = AttackGaussians(pair, {subject: one for subject, one in kept.items() if one is not None})
        return {name: found.steps(name) for name in found.objects}
    return {name: [0, pair.defended.steps] for name in _to_rebuild(pair)}


def open_attack(pair: AttackPair) -> AttackGaussians:
    """Return the Gaussians of both sides of an attack.

    Raises:
        UsageError: A file is damaged, or Gaussians have to be made from weights or data that are not on this machine.
        NonFiniteError: The weights make NaN or infinite Gaussians.
    """
    kept, missing = {}, []
    for subject in SUBJECTS:
        found = _read(pair, subject)
        if found is None:
            missing.append(subject)
            found = rebuild(pair.folder(subject), pair.cell(subject), _to_rebuild(pair))
        kept[subject] = found
    shown = AttackGaussians(pair, kept, _note(missing))
    if not shown.objects:
        raise UsageError(f"{pair.run} kept no object of {pair.method}", hint="attack again with geotrap attack")
    return shown


def _note(missing: list[str]) -> str:
    """Return what the page has to say of subjects whose Gaussians were not kept."""
    if not missing:
        return ""
    what = f"The run kept no Gaussians of the {' and '.join(missing)} weights along the way (`attack.keep_gaussians`)"
    return f"{what}: there are both ends of the attack alone, made anew from the weights it kept."


def _read(pair: AttackPair, subject: str) -> KeptGaussians | None:
    return read_kept(kept_file(pair.folder(subject), pair.method, subject))


def _measured(pair: AttackPair, split: Split) -> list[str]:
    """Return the objects that were measured before the attack, in the order in which they were drawn."""
    return [score.id for score in getattr(pair.defended.evaluations[0], split) or ()]


def _to_rebuild(pair: AttackPair) -> list[str]:
    return [name for split in SPLITS for name in _measured(pair, split)[:REBUILT_OBJECTS]]
