"""What the built-in defenses have in common where their options are searched for."""

from __future__ import annotations

from collections.abc import Mapping

from geotrap_cli.search_ranges import Range, multiples

#: A decade to either side: weights are known no better than that.
DECADES = multiples(0.1, 10.0)
#: Of every defense that takes steps.
LEARNING_RATE: Mapping[str, Range] = {"train.lr": multiples(0.2, 5.0)}
