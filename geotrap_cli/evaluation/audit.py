"""What a defense did to its generator, as one value on disk: depths, drift, geometry, and the tensors it rests on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from geotrap_cli.atomic import write_json
from geotrap_cli.errors import UsageError
from geotrap_cli.evaluation.cells import DEFENDED, UNDEFENDED, strict_json
from geotrap_cli.evaluation.geometry import GeometryState

AUDIT = "audit.json"
GRADIENT_UNDEFENDED, GRADIENT_DEFENDED, WEIGHT_CHANGE = "gradient_undefended", "gradient_defended", "weight_change"
TOP = (1, 5, 10)
"""The share of the energy is given for this many tensors."""


@dataclass(frozen=True)
class TrapDepths:
    """Mean depth of one trap over held-out target objects.

    Attributes:
        trap: Its key.
        undefended: Raw depth under the undefended weights.
        defended: Raw depth under the defended weights.
        visible: Depth under the defended weights with Gaussians weighted by opacity; None where all are invisible.
        relative: Defended less undefended, object by object.
    """

    trap: str
    undefended: float
    defended: float
    visible: float | None
    relative: float

    def record(self) -> dict[str, str | float | None]:
        """Return the fields as a table row."""
        return {
            "trap": self.trap,
            "undefended": self.undefended,
            "defended": self.defended,
            "opacity-weighted": self.visible,
            "relative": self.relative,
        }


@dataclass(frozen=True)
class TensorShare:
    """One tensor of the generator, its share of an energy, and whether the defense trained it."""

    name: str
    share: float
    trained: bool


@dataclass(frozen=True)
class EnergyShares:
    """How an energy, a sum of squares, is spread over the tensors of a generator.

    Attributes:
        top: Share of the 1, 5 and 10 tensors that hold most, by that number as a string.
        tensors: Number of tensors.
        largest: Those that hold most, the first ten.
    """

    top: dict[str, float]
    tensors: int
    largest: list[TensorShare]

    @classmethod
    def of(cls, energies: Mapping[str, float], trained: Collection[str]) -> EnergyShares | None:
        """Return the shares of ``energies`` by tensor; None where there is no energy, so no share of it."""
        total = sum(energies.values())
        if not total > 0:
            return None
        order = sorted(energies, key=lambda name: -energies[name])
        shares = [TensorShare(name, energies[name] / total, name in trained) for name in order]
        top = {str(count): min(1.0, sum(tensor.share for tensor in shares[:count])) for count in TOP}
        return cls(top, len(shares), shares[: max(TOP)])


@dataclass(frozen=True)
class TrapAudit:
    """The state of a generator after its defense.

    Attributes:
        depths: How deep each trap went on held-out target objects.
        source_drift: Mean absolute change of the activated channels on held-out source objects.
        source_drift_by_attribute: The same by attribute, means over objects; ``quats`` in radians.
        geometry: State of the Gaussians of held-out target objects, ``undefended`` and ``defended``.
        shortcut: Spread over the tensors of the traps' gradient on the defense's own target objects under both weights,
            and of the change of the weights; None where there is no gradient or no change.
    """

    depths: list[TrapDepths]
    source_drift: float
    source_drift_by_attribute: dict[str, float]
    geometry: dict[str, GeometryState]
    shortcut: dict[str, EnergyShares | None]

    def states(self) -> dict[str, GeometryState | None]:
        """Return the geometry by what the weights are called, the undefended first."""
        return {name: self.geometry.get(name) for name in (UNDEFENDED, DEFENDED)}

    def payload(self) -> dict[str, Any]:
        """Return everything but histograms as JSON values."""
        fields = {
            "depths": [depth.record() for depth in self.depths],
            "source_drift": self.source_drift,
            "source_drift_by_attribute": self.source_drift_by_attribute,
            "geometry": {name: state.summary() for name, state in self.geometry.items()},
            "shortcut": {name: shares and dataclasses.asdict(shares) for name, shares in self.shortcut.items()},
        }
        plain: dict[str, Any] = strict_json(fields)
        return plain


def write_audit(run: Path, audit: TrapAudit) -> Path:
    """Write ``audit.json`` into a run folder, atomically, and return its path."""
    write_json(run / AUDIT, strict_json(dataclasses.asdict(audit)))
    return run / AUDIT


def read_audit(run: Path) -> TrapAudit:
    """Read the audit of a train run.

    Raises:
        UsageError: The file is missing or holds no audit.
    """
    path = run / AUDIT
    try:
        audit: TrapAudit = TypeAdapter(TrapAudit).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{run} has no {AUDIT}", hint="train again with `geotrap train`") from error
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", hint="train again with `geotrap train`") from error
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        what = f"{path} is not an audit: {where}: {problem['msg']}"
        raise UsageError(what, hint="train again with `geotrap train`") from error
    return audit
