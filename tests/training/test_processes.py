"""What several processes share, as far as one process can tell; the rest is in test_runs_of_several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from geotrap_cli.__main__ import main
from geotrap_cli.data.views import WHOLE, Part
from geotrap_cli.errors import UsageError
from geotrap_cli.launched import is_follower, process_count, process_index, refuse_several
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.profile.device_table import DeviceTable
from geotrap_cli.training.attack import check_attacks_divisible
from geotrap_cli.training.attack_plan import plan_attacks
from geotrap_cli.training.defense import check_divisible, load_defense
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.processes import ALONE, Processes, join_processes
from geotrap_cli.training.surface import surface_loss

CPU = torch.device("cpu")


class Pair:
    """Stands in for Accelerate where only the number of processes counts."""

    process_index, num_processes = 1, 2


@pytest.fixture
def second() -> Processes:
    """The second of two processes."""
    return Processes(CPU, Pair())


def dividing() -> Processes:
    """The second of two processes that divide the weights."""
    mesh: Any = object()
    return Processes(CPU, Pair(), mesh)


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the second of two processes."""
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)


class TestAlone:
    def test_nothing_is_changed(self) -> None:
        model, value = torch.nn.Linear(2, 2), torch.rand(3)
        assert ALONE.main and ALONE.part == WHOLE
        assert ALONE.replicate(model) is model
        assert ALONE.average(value) is value
        assert ALONE.mean({"a": 1.5}) == {"a": 1.5}
        assert ALONE.told("text") == "text"
        assert ALONE.any(True) and ALONE.decided(True) and not ALONE.decided(False)
        ALONE.check_batch("train.batch_size", 7)

    def test_no_launcher_is_one_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RANK", "3")  # some schedulers set it by themselves
        assert (process_count(), process_index(), is_follower()) == (1, 0, False)
        assert join_processes("cpu").count == 1


class TestPart:
    @pytest.mark.parametrize("count", [1, 2, 3, 6])
    def test_the_parts_in_a_row_are_the_whole(self, count: int) -> None:
        whole = list(range(6))
        assert [item for index in range(count) for item in Part(index, count).of(whole)] == whole

    def test_a_batch_in_parts_holds_the_samples_of_the_whole(self, open_mini: Callable[..., object]) -> None:
        sampler = open_mini().bench.sampler(open_mini().bench.splits.source_train, 2, seed=3)
        whole, parts = sampler.batch(5, 4), [sampler.batch(5, 4, Part(index, 2)) for index in range(2)]
        assert whole.ids == [id for part in parts for id in part.ids]
        for name in ("images", "rgb", "alpha"):
            assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts]))

    def test_the_surface_loss_of_parts_has_the_whole_as_its_mean(self, open_mini: Callable[..., object]) -> None:
        opened = open_mini()
        sampler = opened.bench.sampler(opened.bench.splits.source_train, 0, seed=3, surface=True)
        batches = [sampler.batch(0, 4), *(sampler.batch(0, 4, Part(index, 2)) for index in range(2))]
        with torch.no_grad():
            gaussians = [opened.model.forward_gaussians(batch.images) for batch in batches]
        # What the processes would tell each other, term by term in the order in which they are computed.
        told: list[list[torch.Tensor]] = [[], []]
        for index in range(2):
            surface_loss(gaussians[index + 1], batches[index + 1], lambda own, row=told[index]: row.append(own) or own)
        means = [torch.stack(values).mean() for values in zip(*told, strict=True)]
        parts = []
        for index in range(2):
            left = iter(means)
            parts.append(surface_loss(gaussians[index + 1], batches[index + 1], lambda _, left=left: next(left)))
        for name, value in surface_loss(gaussians[0], batches[0]).items():
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


class TestRefused:
    def test_a_batch_that_cannot_be_divided(self, second: Processes) -> None:
        with pytest.raises(UsageError, match=r"train.batch_size is 3, which cannot be divided over 2 processes"):
            second.check_batch("train.batch_size", 3)
        second.check_batch("train.batch_size", 4)

    @pytest.mark.parametrize(
        ("override", "reason"),
        [
            ("robust.input_noise=0.1", r"\[robust\] looks at a batch as a whole"),
            ("traps.position.dynamic={eta=0.1}", r"\[traps.position.dynamic\] draws its probes"),
            ("defense.method=sophon", "'sophon' looks at a batch as a whole"),
            ("defense.method=gausslock", "'gausslock' looks at a batch as a whole"),
            ("train.batch_size=3", "cannot be divided"),
        ],
    )
    def test_a_defense_that_needs_the_whole_batch(
        self, second: Processes, load_mini: Callable[..., LoadedProfile], override: str, reason: str
    ) -> None:
        profile = load_mini(override).profile
        with pytest.raises(UsageError, match=reason):
            check_divisible(second, profile, load_defense(profile))
        check_divisible(ALONE, profile, load_defense(profile))

    @pytest.mark.parametrize("method", ["geotrap", "distill", "noise", "none"])
    def test_no_defense_whose_loss_is_a_mean_over_objects(
        self, second: Processes, load_mini: Callable[..., LoadedProfile], method: str
    ) -> None:
        profile = load_mini(f"defense.method={method}").profile
        check_divisible(second, profile, load_defense(profile))

    def test_an_attack_that_needs_the_whole_batch(
        self, second: Processes, load_mini: Callable[..., LoadedProfile], micro_weights: object
    ) -> None:
        profile = load_mini("attack.methods=teacher_outputs", f"attack.teacher_outputs.teacher={micro_weights}").profile
        with pytest.raises(UsageError, match="teacher_outputs: imitation of attributes"):
            check_attacks_divisible(second, profile, plan_attacks(profile))
        full = load_mini("attack.methods=full").profile
        check_attacks_divisible(second, full, plan_attacks(full))

    @pytest.mark.usefixtures("launched")
    def test_a_command_that_would_run_twice(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(UsageError, match="geotrap compare runs in one process, and 2 were launched"):
            refuse_several("compare")
        refuse_several("train")
        # The first process of the machine says so.
        assert main(["runs"]) == 2
        assert capsys.readouterr().err == ""

    @pytest.mark.usefixtures("launched")
    def test_one_device_for_all(self) -> None:
        with pytest.raises(UsageError, match="--device cuda:1 names one device, and 2 processes"):
            join_processes("cuda:1")

    @pytest.mark.usefixtures("launched")
    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("ACCELERATE_MIXED_PRECISION", "bf16", "mixed precision bf16, which the profile decides"),
            ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "compile by inductor, which the profile decides"),
            ("ACCELERATE_USE_DEEPSPEED", "true", "use DEEPSPEED"),
            ("ACCELERATE_USE_FSDP", "true", "use FSDP 1, and weights are divided by FSDP 2 only"),
        ],
    )
    def test_what_the_launcher_was_told_and_would_not_act(
        self, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=reason):
            join_processes("auto")

    @pytest.mark.usefixtures("launched")
    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("OFFLOAD_PARAMS", "true"),
            ("ACTIVATION_CHECKPOINTING", "true"),
            ("RESHARD_AFTER_FORWARD", "false"),
            ("AUTO_WRAP_POLICY", "SIZE_BASED_WRAP"),
            ("TRANSFORMER_CLS_TO_WRAP", "Linear"),
            ("IGNORED_MODULES", "conv"),
        ],
    )
    def test_a_setting_of_fsdp_that_would_not_act(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        for key, setting in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", f"FSDP_{name}": value}.items():
            monkeypatch.setenv(key, setting)
        with pytest.raises(UsageError, match=f"told --fsdp_{name.lower()} {value}, which does not act here"):
            join_processes("auto")

    @pytest.mark.parametrize(
        ("methods", "reason"),
        [
            ("lora", "lora: adapters are kept in one piece, so FSDP cannot divide its weights"),
            ("merge", "merge.*: what it does in after_step may need whole weights"),
            ("optimizer_sweep", "not all of its optimizers know divided weights"),
            ("long_budget", "it keeps the weights of its best step"),
        ],
    )
    def test_an_attack_that_needs_whole_weights(
        self, second: Processes, load_mini: Callable[..., LoadedProfile], methods: str, reason: str
    ) -> None:
        profile = load_mini(f"attack.methods={methods}").profile
        planned = plan_attacks(profile)
        check_attacks_divisible(second, profile, planned)
        with pytest.raises(UsageError, match=reason):
            check_attacks_divisible(dividing(), profile, planned)

    @pytest.mark.parametrize("methods", ["full", "sgd", "head_only", "schedule_sweep", "weight_noise", "desaturate"])
    def test_no_attack_that_moves_each_weight_by_its_own_gradient(
        self, load_mini: Callable[..., LoadedProfile], methods: str
    ) -> None:
        profile = load_mini(f"attack.methods={methods}").profile
        full = [one for one in plan_attacks(profile) if "lora" not in one.method]
        assert full
        check_attacks_divisible(dividing(), profile, full)

    @pytest.mark.parametrize(
        ("option", "reason"),
        [
            ("channels_last", r"device.channels_last lays out weights in a way that FSDP cannot divide"),
            ("compile", r"device.compile shares code between blocks that FSDP does not tell apart"),
        ],
    )
    def test_a_switch_that_does_not_go_with_divided_weights(
        self, monkeypatch: pytest.MonkeyPatch, option: str, reason: str
    ) -> None:
        monkeypatch.setattr("geotrap_cli.training.device_options.check_compiler", lambda _: None)
        table = DeviceTable(**{option: True})
        check_training(table, ALONE)
        with pytest.raises(UsageError, match=reason):
            check_training(table, dividing())
