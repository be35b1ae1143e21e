"""The categories, and one object of a category from its index and a seed."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np

from geotrap_cli.data.procedural import animals, buildings, furniture, misc, nature, targets, toys, vehicles, vessels
from geotrap_cli.data.procedural.assembly import ObjectMesh, assemble
from geotrap_cli.data.procedural.primitives import Part
from geotrap_cli.errors import UsageError

Build = Callable[[np.random.Generator], Sequence[Part]]

# Raise this whenever an object or its rendering changes: caches and fingerprints depend on it.
CONTENT_VERSION = 2
# What stands on the ground leans a little; what is held in a hand is seen at any slant.
MAX_TILT_DEG, MAX_TILT_HELD_DEG = 7.0, 35.0
HELD = frozenset({"knife", "hammer", "scissors", "umbrella", "guitar", "book", "fish", "airplane"})

SOURCE: dict[str, Build] = {
    "chair": furniture.chair,
    "table": furniture.table,
    "bed": furniture.bed,
    "shelf": furniture.shelf,
    "couch": furniture.couch,
    "lamp": furniture.lamp,
    "stool": furniture.stool,
    "bottle": vessels.bottle,
    "mug": vessels.mug,
    "bowl": vessels.bowl,
    "vase": vessels.vase,
    "barrel": vessels.barrel,
    "bucket": vessels.bucket,
    "teapot": vessels.teapot,
    "watering_can": vessels.watering_can,
    "tree": nature.tree,
    "rock": nature.rock,
    "cactus": nature.cactus,
    "flower": nature.flower,
    "house": buildings.house,
    "windmill": buildings.windmill,
    "lighthouse": buildings.lighthouse,
    "fence": buildings.fence,
    "archway": buildings.archway,
    "pillar": buildings.pillar,
    "crate": buildings.crate,
    "chest": buildings.chest,
    "car": vehicles.car,
    "truck": vehicles.truck,
    "train": vehicles.train,
    "boat": vehicles.boat,
    "airplane": vehicles.airplane,
    "rocket": vehicles.rocket,
    "dog": animals.dog,
    "bird": animals.bird,
    "fish": animals.fish,
    "turtle": animals.turtle,
    "robot": toys.robot,
    "snowman": toys.snowman,
    "ring_stack": toys.ring_stack,
    "dice": toys.dice,
    "spinning_top": toys.spinning_top,
    "gift": toys.gift,
    "book": misc.book,
    "candle": misc.candle,
    "umbrella": misc.umbrella,
    "guitar": misc.guitar,
    "clock": misc.clock,
    "sign": misc.sign,
    "shoe": misc.shoe,
}
TARGET: dict[str, Build] = {"knife": targets.knife, "hammer": targets.hammer, "scissors": targets.scissors}
BENIGN: dict[str, Build] = {"mushroom": nature.mushroom}
CATEGORIES: dict[str, Build] = {**SOURCE, **TARGET, **BENIGN}


def object_id(category: str, index: int) -> str:
    """The id of object ``index`` of a category."""
    return f"{category}/{category}_{index:04d}"


def parse_id(id: str) -> tuple[str, int]:
    """Category and index of an id.

    Raises:
        UsageError: No object has this id.

    """
    category, _, name = id.partition("/")
    digits = name.rpartition("_")[2]
    if category in CATEGORIES and digits.isdecimal() and id == object_id(category, int(digits)):
        return category, int(digits)
    raise UsageError(f"no procedural object is called {id!r}", hint=f"Ids look like {object_id('chair', 0)!r}.")


def build_object(category: str, index: int, seed: int) -> ObjectMesh:
    """Object ``index`` of ``category``: the same for a seed whatever else is made."""
    rng = np.random.default_rng([seed, zlib.crc32(category.encode()), index])
    parts = CATEGORIES[category](rng)
    most = MAX_TILT_HELD_DEG if category in HELD else MAX_TILT_DEG
    tilt = rng.uniform(-most, most, size=2)
    return assemble(parts, yaw=float(rng.uniform(0.0, 360.0)), tilt=(float(tilt[0]), float(tilt[1])))
