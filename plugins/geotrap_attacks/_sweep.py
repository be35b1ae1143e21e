"""What options of attacks share: values that are one cell each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel

from geotrap_cli.errors import GeotrapError
from geotrap_cli.profile.base import distinct

if TYPE_CHECKING:
    from geotrap_cli.attacks import Attack

Value = TypeVar("Value")


Distinct = Annotated[tuple[Value, ...], AfterValidator(distinct)]
"""Values without repetition; each becomes a cell of its own."""


def require_some(config: BaseModel, *options: str) -> None:
    """Refuse swept options that are all empty: nothing would run.

    Raises:
        ValueError: They are.
    """
    if not any(getattr(config, name) for name in options):
        raise ValueError(f"{' and '.join(options)} {'are' if len(options) > 1 else 'is'} empty: nothing would run")


def expand(attack: Attack, **labels: Callable[[Any], str]) -> dict[str, Attack]:
    """Return one attack for each value of the swept options, as ``<key>-<label>``.

    Args:
        attack: The attack whose options hold tuples.
        **labels: For each swept option, how a value is named; the other swept options are empty in a variant.
    """
    empty = dict.fromkeys(labels, ())
    return {
        f"{attack.key}-{label(value)}": type(attack)(attack.config.model_copy(update=empty | {option: (value,)}))
        for option, label in labels.items()
        for value in getattr(attack.config, option)
    }


def chosen(attack: Attack, *options: str) -> tuple[str, Any]:
    """Return the one swept option that holds a value, and that value.

    Raises:
        GeotrapError: There are several values: the attack is to be run by its variants.
    """
    values = [(option, value) for option in options for value in getattr(attack.config, option)]
    if len(values) != 1:
        what = f"attack.{attack.key}: {len(values)} values of {', '.join(options)}, and a cell has one"
        raise GeotrapError(what, "Run what variants() returns")
    return values[0]
