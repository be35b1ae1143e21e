"""Everything there is to see of a run: its attacks, worst first, opened when they are looked at, and the verdict."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.reports.pairing import AttackPair
from geotrap_cli.viewer.scene import Scene, make_scene
from geotrap_cli.viewer.sources import AttackGaussians, open_attack


class Exhibit:
    """The attacks of a comparison.

    Args:
        pairs: The attacks by label, the one that recovers most first.
        verdict: What `geotrap compare` says of them, in a sentence or two.
    """

    def __init__(self, pairs: Mapping[str, AttackPair], verdict: str) -> None:
        self.pairs, self.verdict = dict(pairs), verdict
        self._opened: dict[str, AttackGaussians] = {}
        # Several pages may ask at once, and making Gaussians anew takes its time.
        self._lock = threading.Lock()

    @property
    def attacks(self) -> list[str]:
        """The labels of the attacks."""
        return list(self.pairs)

    def attack(self, label: str) -> AttackGaussians:
        """Return what there is to see of an attack.

        Raises:
            UsageError: A file is damaged, or weights or data are not on this machine.
            NonFiniteError: The weights make NaN or infinite Gaussians.
        """
        with self._lock:
            if label not in self._opened:
                self._opened[label] = open_attack(self.pairs[label])
            return self._opened[label]

    def scene(self, label: str, name: str, step: int) -> Scene:
        """Return one object of an attack after ``step`` steps; raises as `attack` does."""
        return make_scene(self.attack(label), label, name, step)

    def first(self) -> str:
        """Return the first attack of which there is anything to see.

        Raises:
            UsageError: There is none, with the reason of the first.
        """
        problem: GeotrapError | None = None
        for label in self.attacks:
            found = self._problem(label)
            if found is None:
                return label
            problem = problem or found
        assert problem is not None, "a comparison has an attack"
        raise UsageError(f"there is nothing to see: {problem.message}", hint=problem.hint)

    def _problem(self, label: str) -> GeotrapError | None:
        try:
            self.attack(label)
        except GeotrapError as error:
            return error
        return None
