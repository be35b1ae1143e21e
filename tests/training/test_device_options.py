"""Switches of speed: each acts, or is refused where it cannot, and none changes what is computed."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geotrap_cli.__main__ import main
from geotrap_cli.errors import UsageError
from geotrap_cli.models.compiled import CompiledBlock, _compiled, check_compiler, compile_blocks
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.plugins import build_plugin
from geotrap_cli.profile import LoadedProfile
from geotrap_cli.profile.device_table import DeviceTable
from geotrap_cli.profile.schema import DefenseTable
from geotrap_cli.training.device_options import check_training
from geotrap_cli.training.effort import EffortMeter
from geotrap_cli.training.processes import ALONE
from geotrap_cli.training.workbench import open_model

CPU = torch.device("cpu")
needs_cuda = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device")]


def images() -> torch.Tensor:
    return torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))


def test_channels_last_lays_out_weights_and_activations_and_changes_rounding_only(
    load_mini: Callable[..., LoadedProfile],
) -> None:
    found = []
    for on in ("false", "true"):
        model = open_model(load_mini(f"device.channels_last={on}").profile, CPU)
        block, seen = model.get_submodule("unet.down_blocks.0.nets.0.conv1"), []
        block.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        raw = model(images())
        raw.square().sum().backward()
        layout = seen[0].is_contiguous(memory_format=torch.channels_last)
        found.append((layout, raw.detach(), block.weight.grad))
    (plain, raw, gradient), (laid_out, raw_last, gradient_last) = found
    assert (plain, laid_out) == (False, True)
    torch.testing.assert_close(raw_last, raw, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient_last, gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


@pytest.mark.parametrize("value", ["true", "false"])
def test_tf32_is_refused_where_it_cannot_act(load_mini: Callable[..., LoadedProfile], value: str) -> None:
    with pytest.raises(UsageError, match=r"device.tf32 does not act on cpu"):
        open_model(load_mini(f"device.tf32={value}").profile, CPU)


@pytest.mark.parametrize("wanted", [pytest.param(flag, marks=needs_cuda) for flag in (True, False)])
def test_tf32_is_set_for_products_and_convolutions(
    load_mini: Callable[..., LoadedProfile], monkeypatch: pytest.MonkeyPatch, wanted: bool
) -> None:
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        monkeypatch.setattr(backend, "allow_tf32", not wanted)
    open_model(load_mini(f"device.tf32={str(wanted).lower()}").profile, torch.device("cuda"))
    assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is wanted


@pytest.fixture(scope="module")
def compiler() -> None:
    """A compiler for this machine; the test is skipped where there is none."""
    try:
        check_compiler(CPU)
    except UsageError as error:
        pytest.skip(error.message)


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The classes of the blocks that ran as compiled code, each time that they did; no C++ compiler takes part."""
    ran: list[str] = []
    compile_ = torch.compile

    def counting(plain: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        compiled = compile_(plain, backend="aot_eager", **options)

        def run(block: nn.Module, *inputs: torch.Tensor) -> Any:
            ran.append(type(block).__name__)
            return compiled(block, *inputs)

        return run

    monkeypatch.setattr(torch, "compile", counting)
    monkeypatch.setattr("geotrap_cli.training.device_options.check_compiler", lambda _: None)
    _compiled.cache_clear()
    yield ran
    _compiled.cache_clear()


@pytest.fixture
def make_small(make_micro: Callable[..., Any]) -> Callable[..., Any]:
    """A generator with few kinds of blocks, as each takes its time to compile."""
    one: dict[str, Any] = {"down_channels": (8,), "down_attention": (False,), "up_channels": (8,)}
    return lambda attends=True: make_micro(**one, up_attention=(False,), mid_attention=attends)


def gradients(model: nn.Module, context: Any = None) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What a training pass puts out, and the gradient of every parameter that is trained."""
    with context or contextlib.nullcontext():
        raw = model(images())
    raw.float().square().mean().backward()
    return raw.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_alike(found: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Equal to rounding: relative to the largest value of each tensor."""
    torch.testing.assert_close(found[0], expected[0], rtol=0, atol=tolerance * float(expected[0].abs().max()))
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=0, atol=tolerance * float(gradient.abs().max()))


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compiled_code_is_the_same_to_rounding(make_small: Callable[..., Any]) -> None:
    plain, model = make_small(attends=False).train(), make_small(attends=False).train()
    compile_blocks(model)
    assert_alike(gradients(model), gradients(plain))


class TestCompile:
    @pytest.mark.parametrize("checkpointing", [False, True])
    def test_every_block_runs_compiled(
        self, make_small: Callable[..., Any], graphs: list[str], checkpointing: bool
    ) -> None:
        plain, model = make_small().train(), make_small().train()
        if checkpointing:
            plain.enable_gradient_checkpointing()
            model.enable_gradient_checkpointing()
        compile_blocks(model)
        blocks = [module for module in model.modules() if isinstance(module, CompiledBlock)]
        assert len(blocks) == sum(isinstance(module, plain.blocks) for module in plain.modules())
        assert_alike(gradients(model), gradients(plain))
        # With checkpoints, each runs again.
        assert len(graphs) == len(blocks) * (2 if checkpointing else 1)

    def test_names_weights_and_evaluation_are_untouched(
        self, make_micro: Callable[..., Any], graphs: list[str]
    ) -> None:
        plain, model = make_micro(), make_micro()
        compile_blocks(model)
        assert weights_hash(model) == weights_hash(plain)
        with torch.no_grad():
            assert torch.equal(model.train()(images()), plain(images()))
        assert torch.equal(model.eval()(images()), plain(images()))
        assert graphs == []

    @pytest.mark.usefixtures("graphs")
    def test_a_copy_runs_with_weights_of_its_own(self, make_small: Callable[..., Any]) -> None:
        model = make_small().train()
        compile_blocks(model)
        before = model(images())
        other = copy.deepcopy(model)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert not other(images()).any()
        torch.testing.assert_close(model(images()), before)

    def test_in_bf16_it_is_as_close_to_float32_as_plain_code(
        self, make_small: Callable[..., Any], graphs: list[str]
    ) -> None:
        plain, model, reference = (make_small().train() for _ in range(3))
        compile_blocks(model)
        _, exact = gradients(reference)
        errors = []
        for one in (model, plain):
            raw, found = gradients(one, torch.autocast("cpu", dtype=torch.bfloat16))
            assert raw.dtype == torch.bfloat16
            errors.append(sum(float((found[name] - exact[name]).square().sum()) for name in exact) ** 0.5)
        assert 0 < errors[0] < 1.2 * errors[1]
        assert graphs

    def test_under_adapters(self, make_small: Callable[..., Any], graphs: list[str]) -> None:
        found = []
        for compiles in (True, False):
            model = make_small()
            torch.manual_seed(0)
            trained = build_plugin("geotrap.attacks", "lora", {"rank": 2}).prepare(model)
            with torch.no_grad():
                for parameter in trained.values():
                    parameter.normal_(std=0.1)
            if compiles:
                compile_blocks(model)
            found.append(gradients(model.train()))
        assert found[0][1].keys() == trained.keys()
        assert_alike(*found)
        assert graphs

    @pytest.mark.usefixtures("graphs")
    def test_passes_are_counted_all_the_same(self, make_small: Callable[..., Any], tmp_path: Path) -> None:
        model = make_small().train()
        model.requires_grad_(False).unet.mid_block.nets[0].conv2.requires_grad_(True)
        compile_blocks(model)
        meter = EffortMeter(DefenseTable(), 1, tmp_path)
        with meter.watching(model):
            gradients(model)
            with torch.no_grad():
                model(images())
        assert (meter.so_far.forward, meter.so_far.backward) == (2, 1)

    def test_the_option_compiles_a_run(self, mini_profile: Path, tmp_path: Path, graphs: list[str]) -> None:
        options = ["--set", "device.compile=true", "--set", "train.steps=1"]
        assert main(["train", "--quiet", "--runs", str(tmp_path), "--profile", str(mini_profile), *options]) == 0
        assert graphs


def test_a_missing_compiler_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, mini_profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(_: Any, **__: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nin many lines")

    monkeypatch.setattr(torch, "compile", missing)
    check_compiler.cache_clear()
    with pytest.raises(UsageError, match=r"device.compile does not act on cpu: No working C\+\+ compiler found\."):
        check_training(DeviceTable(compile=True), ALONE)
    arguments = ["--runs", str(tmp_path / "runs"), "--profile", str(mini_profile), "--set", "device.compile=true"]
    for command in ("train", "pretrain"):
        assert main([command, "--device", "cpu", *arguments]) == 2
        assert "Install a C++ compiler, or leave device.compile out" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    check_compiler.cache_clear()


def test_a_defense_that_differentiates_gradients(
    mini_profile: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geotrap_cli.training.device_options.check_compiler", lambda _: None)
    arguments = ["--runs", str(tmp_path), "--profile", str(mini_profile), "--set", "device.compile=true"]
    assert main(["train", "--device", "cpu", *arguments, "--set", "defense.method=mlac"]) == 2
    assert "defense 'mlac', which takes gradients of gradients" in capsys.readouterr().err
