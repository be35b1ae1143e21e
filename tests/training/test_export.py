"""`geotrap export`: the right weights, the right object, and files that other programs open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from geotrap_cli.__main__ import main
from geotrap_cli.cell_weights import find_cell_weights, open_cell_weights
from geotrap_cli.errors import UsageError
from geotrap_cli.gaussians import GaussianBatch, activate
from geotrap_cli.models.folder import load_folder
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.ply import load_ply
from geotrap_cli.turntable import check_video, save_gif, turntable

Export = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(mini_profile: Path, make_runs: Callable[..., Path]) -> Path:
    """A defense, and lora and full fine-tuning of both sets of weights."""
    train = ["train", "--profile", str(mini_profile), "--set", "train.steps=2"]
    return make_runs(train, ["attack", "--lora", "--full", "--set", "attack.steps=1"])


@pytest.fixture
def export(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Export:
    monkeypatch.setenv("GEOTRAP_RUNS", str(runs))
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main(["export", "--json", "--quiet", *arguments]) == code
        out, err = capsys.readouterr()
        return json.loads(err)["error"] if code else json.loads(out)

    return run


def find(runs: Path, command: str) -> Path:
    (found,) = runs.glob(f"*-{command}-*")
    return found


def means(found: dict[str, Any]) -> torch.Tensor:
    return load_ply(found["files"]["ply"]).means


def test_defaults_are_the_defended_weights_and_the_first_measured_object(export: Export, runs: Path) -> None:
    found = export("--frames", "2", "--size", "16")
    cell = json.loads((find(runs, "attack") / "cells" / "lora-defended.json").read_text())
    measured = [score["id"] for score in cell["evaluations"][0]["target"]]
    assert (found["attack"], found["model"], found["written"]) == (None, "defended", True)
    assert found["object"] in measured
    assert Path(found["run"]) == find(runs, "train")
    with Image.open(found["files"]["gif"]) as gif:
        assert (gif.n_frames, gif.size) == (2, (16, 16))
    assert len(means(found)[0]) == 1024
    assert Path(found["files"]["ply"]).parent == Path("exports")


def test_every_cell_has_weights_of_its_own(export: Export) -> None:
    attacks = ((), ("lora",), ("full",))
    cells = [(*attack, "--model", model) for attack in attacks for model in ("undefended", "defended")]
    clouds = [means(export(*cell, "--format", "ply")) for cell in cells]
    for index, cloud in enumerate(clouds):
        assert all(not torch.equal(cloud, other) for other in clouds[:index])


def test_a_merged_adapter_gives_what_the_attack_measured(runs: Path, mini_profile: Path) -> None:
    """The foreground PSNR of the exported weights is that of the cell."""
    from geotrap_cli.evaluation.evaluate import EvaluationSettings, evaluate
    from geotrap_cli.profile import load_profile
    from geotrap_cli.training.workbench import open_model, open_workbench

    attack, cpu = find(runs, "attack"), torch.device("cpu")
    profile = load_profile(attack / "profile.toml", env={}).profile
    start = open_model(profile, cpu, str(find(runs, "train") / "model"))
    bench = open_workbench(profile, cpu, start)
    model = open_cell_weights(find_cell_weights(attack, "lora", "defended"), start)
    settings = EvaluationSettings.from_profile(profile, bench.input_size, bench.output_size)
    again = evaluate(model, bench.dataset, bench.draw(bench.splits.eval_target), settings)
    last = json.loads((attack / "cells" / "lora-defended.json").read_text())["evaluations"][-1]["target"]
    measured = {score["id"]: score["metrics"]["foreground_psnr"] for score in last}
    assert {score.id: score.metrics["foreground_psnr"] for score in again.scores} == pytest.approx(measured, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("loro",), "lora"),
        (("--object", "knife/none"), "knife/none"),
        (("--model", "attacked"), "--model"),
        (("--format", "obj"), "--format"),
        (("--format", "ply", "--size", "64"), "--size"),
        (("--size", "33"), "even"),
    ],
)
def test_what_is_not_there_is_named(export: Export, arguments: tuple[str, ...], told: str) -> None:
    error = export(*arguments, code=2)
    assert told in error["message"] + error["hint"]
    assert not Path("exports").exists()


def test_dry_run_writes_nothing(export: Export) -> None:
    found = export("lora", "--dry-run")
    assert found["written"] is False
    assert not Path("exports").exists()


def test_an_attack_of_a_train_run_is_refused(export: Export, runs: Path) -> None:
    assert "geotrap attack" in export("lora", "--run", str(find(runs, "train")), code=2)["hint"]


def test_weights_that_were_not_kept_say_what_to_do(runs: Path, tmp_path: Path, micro: LGM) -> None:
    attack = find(runs, "attack")
    with pytest.raises(UsageError, match="kept no weights of sgd-defended") as error:
        find_cell_weights(attack, "sgd", "defended")
    assert "lora-defended" in str(error.value.hint)
    with pytest.raises(UsageError, match="neither a diffusers folder nor an adapter"):
        open_cell_weights(tmp_path, micro)


def test_an_adapter_of_another_size_is_refused(runs: Path, make_micro: Callable[..., LGM]) -> None:
    folder = find_cell_weights(find(runs, "attack"), "lora", "defended")
    with pytest.raises(UsageError, match="does not fit"):
        open_cell_weights(folder, make_micro(down_channels=(8, 16), up_channels=(16, 8)))


def test_full_weights_need_no_base(runs: Path, micro: LGM) -> None:
    folder = find_cell_weights(find(runs, "attack"), "full", "defended")
    opened, kept = open_cell_weights(folder, micro).state_dict(), load_folder(folder).state_dict()
    assert all(torch.equal(opened[name], kept[name]) for name in kept)


def test_weights_that_changed_since_are_refused(export: Export, runs: Path, tmp_path: Path, micro: LGM) -> None:
    import shutil

    from geotrap_cli.models.loading import save_generator

    copy = tmp_path / "copy" / find(runs, "train").name
    shutil.copytree(find(runs, "train"), copy)
    shutil.rmtree(copy / "model")
    save_generator(micro, copy / "model")
    assert "are not those of" in export("--run", str(copy), code=2)["message"]


def blob(x: float) -> GaussianBatch:
    """One red ball on the x axis."""
    raw = torch.zeros(1, 1, 14)
    batch = activate(raw)
    values = batch.activated.clone()
    values[0, 0] = torch.tensor([x, 0, 0, 0.9, 0.1, 0.1, 0.1, 1, 0, 0, 0, 1, 0, 0])
    return GaussianBatch(values)


def test_a_turntable_turns_once_around(tmp_path: Path) -> None:
    front, quarter, back, _ = turntable(blob(0.4), frames=4, size=32, elevation_deg=0)

    def column(picture: Image.Image) -> float:
        red = 255.0 - torch.from_numpy(np.asarray(picture)[..., 1].astype(np.float64))
        return float((red.sum(0) * torch.arange(32)).sum() / red.sum())

    assert column(front) > 20
    assert column(back) < 11
    assert column(quarter) == pytest.approx(15.5, abs=0.3)
    save_gif([front, quarter, back], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 3 and gif.info["loop"] == 0


def test_the_camera_looks_down_from_above() -> None:
    raised = GaussianBatch(blob(0.0).activated.clone())
    raised.activated[0, 0, 1] = 0.3
    rows = []
    for elevation in (0.0, 60.0):
        (picture, _) = turntable(raised, frames=2, size=32, elevation_deg=elevation)
        red = 255.0 - torch.from_numpy(np.asarray(picture)[..., 1].astype(np.float64))
        rows.append(float((red.sum(1) * torch.arange(32)).sum() / red.sum()))
    # What stands up comes nearer to the middle of the picture when it is seen from above.
    assert rows[0] < rows[1] < 16


def test_video_without_its_encoder_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="imageio-ffmpeg") as error:
        check_video()
    assert "geotrap[video]" in str(error.value.hint)


def test_video_where_the_encoder_is_installed(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    from geotrap_cli.turntable import save_mp4

    save_mp4(turntable(blob(0.4), frames=4, size=32, elevation_deg=0), tmp_path / "a.mp4")
    facts = next(encoder.read_frames(str(tmp_path / "a.mp4")))
    assert facts["size"] == (32, 32)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_interrupted_video_leaves_nothing(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg", reason="imageio-ffmpeg is not installed")
    from geotrap_cli.turntable import save_mp4

    class Pressed(Image.Image):
        def tobytes(self, *_: Any) -> bytes:
            raise KeyboardInterrupt

    whole, pressed = Image.new("RGB", (32, 32)), Pressed()
    with pytest.raises(KeyboardInterrupt):
        save_mp4([whole, pressed], tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
