"""Everything that is wrong with a profile, gathered first and told at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from rapidfuzz import fuzz, process

from geotrap_cli.errors import UsageError
from geotrap_cli.plugins import suggestion
from geotrap_cli.profile.layers import Layers
from geotrap_cli.profile.schema import Profile


@dataclass
class Problems:
    """The problems found so far, one line each; ``root`` is the schema of the whole file."""

    layers: Layers
    root: type[BaseModel] = Profile
    lines: list[str] = field(default_factory=list)

    def add(self, dotted: str, text: str) -> None:
        """Note that the value of ``dotted`` is wrong, and where it came from."""
        origin = self.layers.origin_of(dotted)
        self.lines.append(f"{dotted}: {text} ({origin.label})" if origin else f"{dotted}: {text}")

    def add_idle(self, dotted: str, text: str) -> None:
        """Note that nothing would read the value of ``dotted``, unless it is one of the many that a run states."""
        origin = self.layers.origin_of(dotted)
        if not (origin and origin.of_run):
            self.add(dotted, text)

    def add_unknown(self, dotted: str, known: Iterable[str]) -> None:
        """Note an unknown key: the closest key of the same table, or of any other table, is proposed."""
        table, _, name = dotted.rpartition(".")
        siblings = [f"{table}.{key}" if table else key for key in known]
        close = process.extractOne(dotted, siblings, scorer=fuzz.ratio, score_cutoff=70, processor=_last)
        elsewhere = [key for key in profile_keys(self.root) if _last(key) == name]
        if close:
            self.add(dotted, f"unknown key; did you mean '{close[0]}'?")
        elif elsewhere:
            self.add(dotted, f"unknown key; did you mean '{elsewhere[0]}'?")
        else:
            keys = ", ".join(_last(key) for key in siblings) or "none"
            self.add(dotted, f"unknown key; this table has {keys}")

    def add_validation(self, error: ValidationError, model: type[BaseModel], prefix: Sequence[str] = ()) -> None:
        """Note every problem pydantic found in a table that starts at ``prefix``."""
        for detail in error.errors():
            location = [str(part) for part in detail["loc"]]
            dotted = ".".join([*prefix, *location])
            if detail["type"] == "extra_forbidden":
                self.add_unknown(dotted, _fields_at(model, location[:-1]))
            else:
                self.add(dotted, _text(detail))

    def raise_if_any(self, source: str) -> None:
        """Raise one UsageError with all the lines, if there are any."""
        if len(self.lines) == 1:
            raise UsageError(f"{source}: {self.lines[0]}")
        if self.lines:
            listing = "".join(f"\n  {line}" for line in self.lines)
            raise UsageError(f"{source}: {len(self.lines)} problems{listing}")


def profile_keys(root: type[BaseModel] = Profile) -> list[str]:
    """Every dotted key that the schema itself names (plug-ins add theirs)."""
    return [
        f"{table}.{name}"
        for table, info in root.model_fields.items()
        if (model := _table_model(info.annotation))
        for name in model.model_fields
    ]


def _text(detail: Any) -> str:
    message = str(detail["msg"])
    if detail["type"] == "missing":
        return "is required"
    text = f"{message[:1].lower()}{message[1:]}, got {detail['input']!r}"
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        choices = [part.strip(" '") for part in detail["ctx"]["expected"].replace(" or ", ", ").split(",")]
        hint = suggestion(detail["input"], choices)
        return f"{text}; {hint}" if hint.startswith("did") else text
    return text


def _last(dotted: str) -> str:
    return dotted.rpartition(".")[2]


def _fields_at(model: type[BaseModel], location: Sequence[str]) -> list[str]:
    """The fields of the table that ``location`` leads to, seen from ``model``."""
    keyed = False
    for part in location:
        if keyed:
            # A key that the profile chose, as in traps.KEY; the table below it is known.
            keyed = False
            continue
        info = model.model_fields.get(part)
        inner = _table_model(info.annotation) if info else None
        if inner is None:
            return []
        assert info is not None
        model, keyed = inner, get_origin(info.annotation) is dict
    return list(model.model_fields)


def _table_model(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None
