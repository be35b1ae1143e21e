"""The weights that ship: whole, small, trained on what their card says, and better than a white image."""

from __future__ import annotations

import json

from geotrap_cli.data.loading import open_dataset
from geotrap_cli.data.procedural.registry import BENIGN, TARGET
from geotrap_cli.data.splits import split_objects
from geotrap_cli.evaluation.evaluate import EvaluationSettings, evaluate
from geotrap_cli.models.loading import load_generator, shipped_folder

LIMIT_BYTES = 10_000_000


def test_nano_is_small_and_complete() -> None:
    folder = shipped_folder("nano")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "diffusion_pytorch_model.fp16.safetensors",
        "MODEL_CARD.md",
        "objects.json",
    }
    assert sum(path.stat().st_size for path in folder.iterdir()) <= LIMIT_BYTES
    assert sum(parameter.numel() for parameter in load_generator("nano", "shipped").parameters()) == 4_351_472


def test_nano_never_saw_a_target_a_benign_or_a_held_out_object() -> None:
    listed = json.loads((shipped_folder("nano") / "objects.json").read_text())
    trained = set(listed["source_train"])
    assert not {name.split("/")[0] for name in trained} & {*TARGET, *BENIGN}
    dataset = open_dataset("procedural", {"objects_per_category": 48})
    splits = split_objects(dataset.records, list(TARGET), list(BENIGN), 0)
    assert trained == set(splits.source_train)
    assert set(listed["source_eval"]) == set(splits.source_eval)


def test_nano_reconstructs_held_out_objects_better_than_white() -> None:
    dataset = open_dataset("procedural", {})
    ids = ["house/house_0005", "car/car_0004", "teapot/teapot_0002", "dog/dog_0002"]
    settings = EvaluationSettings(views=2, batch_size=4, input_size=64, output_size=64)
    means = evaluate(load_generator("nano", "shipped"), dataset, ids, settings).means()
    assert means["foreground_psnr"] > means["white_foreground_psnr"] + 4
