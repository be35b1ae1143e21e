"""Random numbers that depend on (seed, step) alone, so that a resumed run draws what an uninterrupted one would."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What numbers are drawn for: equal seeds and steps give each use numbers of its own."""

    PARAMETER_NOISE = 101
    INPUT_NOISE = 102
    UNROLLED_CHOICE = 103
    UNROLLED_ADAPTER = 104
    UNROLLED_VIEWS = 105
    HEAD_VIEWS = 106
    DEFENSE_ADAPTER = 107
    DEFENSE_CHOICE = 108
    DEFENSE_NOISE = 109
    DEFENSE_SAMPLES = 110
    ATTACKER_TARGETS = 111
    ATTACKER_SOURCES = 112
    UNIT_RESET = 113


def numpy_stream(seed: int, step: int, stream: Stream) -> np.random.Generator:
    """Return numpy's generator of a step."""
    return np.random.default_rng([seed, step, int(stream)])


def torch_stream(seed: int, step: int, stream: Stream, device: torch.device) -> torch.Generator:
    """Return torch's generator of a step on ``device``; devices differ in the numbers they draw."""
    generator = torch.Generator(device)
    return generator.manual_seed(int(numpy_stream(seed, step, stream).integers(2**62)))


def derived_seed(seed: int, stream: Stream) -> int:
    """Return a seed for what draws from (seed, step) by itself, such as a sampler of views."""
    return int(numpy_stream(seed, 0, stream).integers(2**31))
