from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from geotrap_cli.errors import UsageError
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.training.workbench import open_model, prepare_views

CPU = torch.device("cpu")


def category(id: str) -> str:
    return id.split("/")[0]


class TestData:
    def test_categories_play_the_parts_the_profile_gives_them(self, open_mini: Callable[..., Any]) -> None:
        splits = open_mini().bench.splits
        target = (*splits.defense_target, *splits.attack_target, *splits.eval_target)
        assert {category(id) for id in target} == {"knife", "hammer"}
        assert {category(id) for id in (*splits.source_train, *splits.source_eval)} == {"crate", "dice"}
        assert {category(id) for id in splits.benign} == {"mushroom"}

    def test_benign_from_the_profile(self, open_mini: Callable[..., Any]) -> None:
        splits = open_mini("data.benign=chair,table", "data.source=[]").bench.splits
        assert {category(id) for id in splits.benign} == {"chair", "table"}
        assert "mushroom" in {category(id) for id in splits.source_train}

    def test_validation_objects_are_those_of_nobody_else(self, open_mini: Callable[..., Any]) -> None:
        test = open_mini("data.set_aside=0.2").bench.splits
        own = open_mini("data.set_aside=0.2", "eval.split=validation").bench.splits
        assert own.source_eval == test.source_validation
        assert own.source_train == test.source_train and own.defense_target == test.defense_target
        assert not {*test.eval_target, *test.source_eval} & {*own.attack_target, *own.eval_target, *own.source_eval}
        with pytest.raises(UsageError, match=r"data\.set_aside"):
            open_mini("eval.split=validation")

    def test_unknown_source_category(self, open_mini: Callable[..., Any]) -> None:
        with pytest.raises(UsageError, match=r"data\.source.*'crates'.*crate"):
            open_mini("data.source=crates")

    def test_target_is_no_source(self, open_mini: Callable[..., Any]) -> None:
        with pytest.raises(UsageError, match="no source object"):
            open_mini("data.source=knife")

    def test_count_seed_and_cache_reach_the_reader(self, open_mini: Callable[..., Any], tmp_path: Path) -> None:
        config = open_mini("data.objects_per_category=9", "data.seed=5", f"data.cache={tmp_path}").bench.dataset.config
        assert (config.objects_per_category, config.seed, config.cache) == (9, 5, tmp_path)

    def test_seed_moves_the_split(self, open_mini: Callable[..., Any]) -> None:
        assert open_mini().bench.splits != open_mini("data.seed=1").bench.splits

    @pytest.mark.parametrize(("output", "stored"), [(None, 16), (16, 16), (24, 24)])
    def test_pictures_are_as_large_as_input_and_output_need(
        self, open_mini: Callable[..., Any], output: int | None, stored: int
    ) -> None:
        bench = open_mini(*([f"data.output_size={output}"] if output else [])).bench
        assert bench.dataset.config.size == stored
        assert (bench.input_size, bench.output_size, bench.splat_size) == (16, output or 16, 16)

    def test_output_may_be_smaller_than_input(
        self, load_mini: Callable[..., Any], make_micro: Callable[..., Any]
    ) -> None:
        from geotrap_cli.training.workbench import open_workbench

        model = make_micro(input_size=32, splat_size=32)
        bench = open_workbench(load_mini("data.output_size=16").profile, CPU, model)
        batch = bench.sampler(bench.splits.attack_target[:1], 1, seed=0).batch(0, 1)
        assert batch.images.shape == (1, 4, 9, 32, 32)
        assert batch.rgb.shape == (1, 1, 16, 16, 3)


class TestDraw:
    @pytest.mark.parametrize("seed", range(3))
    def test_at_most_so_many_spread_over_the_categories(self, open_mini: Callable[..., Any], seed: int) -> None:
        bench = open_mini("eval.objects=4", f"data.seed={seed}").bench
        ids = [f"{name}/{name}_{i:04d}" for name in ("knife", "hammer", "crate") for i in range(6)]
        drawn = bench.draw(ids)
        assert len(set(drawn)) == 4
        assert sorted(Counter(map(category, drawn)).values()) == [1, 1, 2]
        assert drawn == bench.draw(ids)

    def test_few_objects_are_all_drawn(self, open_mini: Callable[..., Any]) -> None:
        ids = ["knife/knife_0001", "crate/crate_0000"]
        assert sorted(open_mini().bench.draw(ids)) == sorted(ids)

    def test_the_draw_depends_on_the_data_seed(self, open_mini: Callable[..., Any]) -> None:
        ids = [f"knife/knife_{i:04d}" for i in range(6)]
        draws = {tuple(open_mini(f"data.seed={seed}").bench.draw(ids)) for seed in range(5)}
        assert len(draws) > 1


class TestModel:
    def test_random_weights_are_the_same_for_every_command(self, load_mini: Callable[..., Any]) -> None:
        profile = load_mini("model.weights=random", "train.seed=3").profile
        torch.manual_seed(99)
        first = open_model(profile, CPU)
        assert weights_hash(first) == weights_hash(open_model(profile, CPU))
        other = load_mini("model.weights=random", "train.seed=4").profile
        assert weights_hash(first) != weights_hash(open_model(other, CPU))

    def test_other_weights_by_name(self, load_mini: Callable[..., Any]) -> None:
        profile = load_mini().profile
        assert weights_hash(open_model(profile, CPU)) != weights_hash(open_model(profile, CPU, "random"))

    def test_fused_head(self, load_mini: Callable[..., Any]) -> None:
        plain, fused = (open_model(load_mini(f"model.fuse_head={x}").profile, CPU) for x in ("false", "true"))
        images = torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))
        assert "conv" not in fused.units()
        assert torch.allclose(plain(images), fused(images), atol=1e-5)

    def test_gradient_checkpointing_recomputes_and_changes_nothing(self, load_mini: Callable[..., Any]) -> None:
        images = torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))
        calls, gradients = [], []
        for on in ("false", "true"):
            model = open_model(load_mini(f"model.gradient_checkpointing={on}").profile, CPU)
            count = [0]
            block = model.get_submodule("unet.mid_block.nets.0")
            block.register_forward_pre_hook(lambda *_, count=count: count.__setitem__(0, count[0] + 1))
            model(images).square().sum().backward()
            calls.append(count[0])
            gradients.append(model.get_parameter("unet.conv_in.weight").grad)
        assert calls == [1, 2]
        assert torch.equal(*gradients)


class Recorder:
    """A data set that works beforehand, and notes how it was asked to."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], int | None]] = []

    def prepare(self, ids: list[str], workers: int | None, progress: Callable[[int, int], None]) -> None:
        self.asked.append((ids, workers))
        progress(len(ids), len(ids))


@pytest.mark.parametrize(("workers", "passed"), [(0, None), (3, 3)])
def test_workers_prepare_each_object_once(
    open_mini: Callable[..., Any], workers: int, passed: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, recorder = open_mini(f"data.workers={workers}").bench, Recorder()
    monkeypatch.setattr(bench.dataset, "prepare", recorder.prepare)
    console = Console(file=io.StringIO(), width=80)
    prepare_views(bench, ["b", "a", "b"], console, quiet=False)
    assert recorder.asked == [(["a", "b"], passed)]
    assert "prepare views 2/2" in console.file.getvalue()  # type: ignore[attr-defined]
