"""The sensitivity term: −η·log(S + 1e-8), S = ‖∂φ/∂θ‖²_F, one per object."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from geotrap_traps.color import ColorTrap
from geotrap_traps.dead_zone import DeadZoneTrap
from geotrap_traps.opacity import OpacityTrap
from geotrap_traps.position import PositionTrap
from geotrap_traps.rotation import RotationTrap
from geotrap_traps.scale import ScaleTrap
from torch import Tensor, nn

from geotrap_cli.errors import NonFiniteError, UsageError
from geotrap_cli.gaussians import CHANNELS, GaussianBatch, activate
from geotrap_cli.models.lgm.attention import Attention, twice_differentiable
from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.profile.schema import Profile
from geotrap_cli.sensitivity.estimators import ESTIMATORS
from geotrap_cli.training.defense_objective import DefenseObjective
from geotrap_cli.training.dynamic import EPSILON, DynamicTerm
from geotrap_cli.training.layers import select_parameters
from geotrap_cli.training.loop import LoopHooks, LoopSettings, optimise
from geotrap_cli.training.terms import TargetPass, Term
from geotrap_cli.training.trap_set import TrapSet
from geotrap_cli.traps import Attribute, BaseTrap, Trap, TrapConfig

TRAPS: dict[str, type[BaseTrap[Any]]] = {
    trap.key: trap for trap in (PositionTrap, ScaleTrap, OpacityTrap, RotationTrap, ColorTrap, DeadZoneTrap)
}


class Sketch(nn.Module):
    """A generator of three Gaussians, small enough for whole Jacobians."""

    input_size, num_views, num_gaussians = 2, 1, 3

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first, self.last = nn.Linear(6, 4).double(), nn.Linear(4, 3 * 14).double()
        self.calls = 0
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return self.last(torch.tanh(self.first(images.flatten(1)))).unflatten(-1, (3, 14))

    def forward_gaussians(self, images: Tensor) -> GaussianBatch:
        return activate(self(images))

    def activate(self, raw: Tensor) -> GaussianBatch:
        return activate(raw)

    def units(self) -> dict[str, list[str]]:
        return {name: [f"{name}.weight", f"{name}.bias"] for name in ("first", "last")}


@pytest.fixture
def sketch() -> Sketch:
    return Sketch()


def images(objects: int = 2) -> Tensor:
    return torch.randn(objects, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def term(model: nn.Module, tables: Mapping[str, Any], seed: int = 0) -> DynamicTerm:
    """The term of a profile whose traps have these dynamic tables."""
    profile = Profile.model_validate(
        {"train": {"seed": seed}, "traps": {key: {"dynamic": table} for key, table in tables.items()}}
    )
    return DynamicTerm(profile, cast(Any, model), {key: TRAPS[key]() for key in tables})


def run(dynamic: DynamicTerm, inputs: Tensor, step: int = 0) -> Term:
    gaussians = dynamic.model.forward_gaussians(inputs[:1]).detach()
    return dynamic(TargetPass(step, inputs, gaussians, {}))


def explicit(model: nn.Module, attribute: Attribute, inputs: Tensor, layers: tuple[str, ...] = ("",)) -> Tensor:
    """S of each object by the whole Jacobian, [B], differentiable."""
    weights = dict(model.named_parameters())
    chosen = {name: value for name, value in weights.items() if name.startswith(layers)}

    def outputs(values: dict[str, Tensor], row: Tensor) -> Tensor:
        raw = cast(Tensor, torch.func.functional_call(model, weights | values, row[None]))
        return attribute.of(activate(raw)).flatten()

    jacobians = [torch.func.jacrev(outputs)(chosen, row) for row in inputs]
    return torch.stack([torch.stack([part.square().sum() for part in j.values()]).sum() for j in jacobians])


def gradients(value: Tensor, model: nn.Module) -> list[Tensor]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


class TestFormula:
    @pytest.mark.parametrize("key", TRAPS)
    @pytest.mark.parametrize("eta", [0.7, -1.5])
    def test_value_and_gradient_are_those_of_the_whole_jacobian(self, key: str, eta: float, sketch: Sketch) -> None:
        made = run(term(sketch, {key: {"eta": eta, "estimator": "exact"}}), images())
        attribute = TRAPS[key]().attribute
        assert attribute is not None
        expected = (-eta * torch.log(explicit(sketch, attribute, images()) + EPSILON)).mean()
        torch.testing.assert_close(made.loss, expected)
        torch.testing.assert_close(gradients(made.loss, sketch), gradients(expected, sketch))
        assert made.metrics.keys() == {f"{key}_dynamic"}

    @pytest.mark.parametrize("estimator", ESTIMATORS)
    def test_the_gradient_is_that_of_the_estimate_itself(self, estimator: str, sketch: Sketch) -> None:
        dynamic = term(sketch, {"rotation": {"eta": 0.3, "estimator": estimator}})
        analytic = torch.cat([part.flatten() for part in gradients(run(dynamic, images()).loss, sketch)])
        direction, step = torch.randn(analytic.shape, generator=torch.Generator().manual_seed(1)).double(), 1e-6
        start = nn.utils.parameters_to_vector(sketch.parameters()).detach()
        ends = []
        for sign in (1, -1):
            nn.utils.vector_to_parameters(start + sign * step * direction, sketch.parameters())
            ends.append(run(dynamic, images()).loss.item())
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((analytic @ direction).item(), rel=1e-6)

    def test_each_object_has_its_own_s(self, sketch: Sketch) -> None:
        dynamic = term(sketch, {"scale": {"eta": 1.0, "estimator": "exact"}})
        alone = [run(dynamic, image).loss.item() for image in images(3).split(1)]
        assert run(dynamic, images(3)).loss.item() == pytest.approx(sum(alone) / 3)
        of_the_batch = -math.log(explicit(sketch, Attribute("scales"), images(3)).sum().item())
        assert abs(run(dynamic, images(3)).loss.item() - of_the_batch) > 0.5

    def test_hutchinson_is_unbiased_for_s_within_its_standard_error(self, sketch: Sketch) -> None:
        truth = explicit(sketch, Attribute("rgb"), images(1)).item()
        dynamic = term(sketch, {"color": {"eta": -1.0}})
        draws = torch.stack([run(dynamic, images(1), step).loss.exp() for step in range(250)])
        error = draws.std() / len(draws) ** 0.5
        assert error < 0.08 * truth, "the check has power"
        assert (draws.mean() - truth).abs() < 3.5 * error

    def test_probes_are_averaged_before_the_logarithm(self, sketch: Sketch) -> None:
        truth = explicit(sketch, Attribute("rgb"), images(1)).item()
        spread = []
        for probes in (1, 64):
            dynamic = term(sketch, {"color": {"eta": -1.0, "probes": probes}})
            draws = torch.stack([run(dynamic, images(1), step).loss.exp() for step in range(12)])
            spread.append((draws / truth - 1).square().mean().sqrt().item())
        assert spread[1] < 0.4 * spread[0]

    def test_where_nothing_reacts_the_term_is_finite_and_flat(self, sketch: Sketch) -> None:
        with torch.no_grad():
            sketch.last.bias.view(3, 14)[:, CHANNELS["means"]] = 9
        made = run(term(sketch, {"position": {"eta": 2.0}}), images())
        assert made.loss.item() == pytest.approx(-2 * math.log(EPSILON))
        assert all(part.abs().sum() == 0 for part in gradients(made.loss, sketch))

    def test_a_weight_that_is_nan_stays_one(self, sketch: Sketch) -> None:
        with torch.no_grad():
            sketch.first.weight[0, 0] = torch.nan
        dynamic = term(sketch, {"color": {"eta": 1.0}})
        assert run(dynamic, images()).loss.isnan()
        optimizer = torch.optim.SGD(sketch.parameters(), lr=0.1)
        with pytest.raises(NonFiniteError, match="nan at step 1"):
            optimise(
                lambda step: {"total": run(dynamic, images(), step).loss},
                list(sketch.parameters()),
                optimizer,
                lambda _: 1.0,
                LoopSettings(1),
                LoopHooks(),
            )


class TestSettings:
    def test_the_last_of_every_few_steps_adds_the_term_and_others_cost_nothing(self, sketch: Sketch) -> None:
        dynamic = term(sketch, {"color": {"eta": 1.0, "every": 3}, "scale": {"eta": 1.0, "every": 2}})
        gaussians = sketch.forward_gaussians(images()).detach()
        sketch.calls = 0
        metrics, calls = [], []
        for step in range(6):
            made = dynamic(TargetPass(step, images(), gaussians, {}))
            metrics.append([name.partition("_")[0] for name in made.metrics])
            calls.append(sketch.calls)
            assert made.loss.item() == pytest.approx(sum(value.item() for value in made.metrics.values()))
        assert metrics == [[], ["scale"], ["color"], ["scale"], [], ["color", "scale"]]
        assert calls == [0, 2, 4, 6, 6, 8], "one pass an object, shared by the traps"

    def test_signs_depend_on_seed_step_and_trap_alone(self, sketch: Sketch) -> None:
        alone = term(sketch, {"color": {"eta": 1.0}})
        first = [run(alone, images(), step).loss.item() for step in (0, 1, 2)]
        assert len(set(first)) == 3
        torch.manual_seed(77)
        assert [run(alone, images(), step).loss.item() for step in (2, 0, 1)] == [first[2], first[0], first[1]]
        together = term(sketch, {"scale": {"eta": 1.0}, "color": {"eta": 1.0}})
        assert run(together, images(), 1).metrics["color_dynamic"].item() == first[1]
        assert run(term(sketch, {"color": {"eta": 1.0}}, seed=1), images()).loss.item() != first[0]

    def test_layers_restrict_the_weights_of_s_but_not_what_moves(self, sketch: Sketch) -> None:
        table = {"eta": 1.0, "estimator": "exact", "layers": ("first",)}
        made = run(term(sketch, {"opacity": table}), images())
        expected = -torch.log(explicit(sketch, Attribute("opacities"), images(), ("first",)) + EPSILON).mean()
        torch.testing.assert_close(made.loss, expected)
        found = gradients(made.loss, sketch)
        torch.testing.assert_close(found, gradients(expected, sketch))
        assert all(part.abs().sum() > 0 for part in found)

    def test_frozen_weights_count_neither_for_s_nor_for_the_step(self, sketch: Sketch) -> None:
        sketch.last.requires_grad_(False)
        made = run(term(sketch, {"opacity": {"eta": 1.0, "estimator": "exact"}}), images())
        made.loss.backward()
        assert sketch.last.weight.grad is None
        assert sketch.first.weight.grad is not None
        expected = -torch.log(explicit(sketch, Attribute("opacities"), images(), ("first",)) + EPSILON).mean()
        torch.testing.assert_close(made.loss, expected)

    def test_a_constant_jacobian_has_no_gradient(self, sketch: Sketch) -> None:
        """Pre-activations are linear in the last layer."""
        sketch.first.requires_grad_(False)
        made = run(term(sketch, {"dead_zone": {"eta": 1.0}}), images())
        assert made.loss.isfinite()
        assert all(part.abs().sum() == 0 for part in gradients(made.loss, sketch))

    def test_all_wrong_units_are_told_at_once_with_the_closest(self, sketch: Sketch) -> None:
        sketch.first.requires_grad_(False)
        tables = {"color": {"eta": 1.0, "layers": ("fist", "last")}, "scale": {"eta": 1.0, "layers": ("first",)}}
        with pytest.raises(UsageError) as caught:
            term(sketch, tables)
        assert "traps.color.dynamic.layers: there is no unit 'fist', did you mean 'first'?" in caught.value.message
        assert "traps.scale.dynamic.layers: unit 'first' is not trained" in caught.value.message

    def test_a_trap_that_acts_on_nothing_in_particular_is_refused(self, sketch: Sketch) -> None:
        class Vague(BaseTrap[TrapConfig]):
            key, summary, upper_bound = "vague", "vague", 0.0

            def measure(self, batch: GaussianBatch, weights: Tensor | None) -> Tensor:
                return batch.rgb.sum(dim=(1, 2))

        profile = Profile.model_validate({"traps": {"vague": {"dynamic": {"eta": 1.0}}}})
        with pytest.raises(UsageError, match="does not say what it acts on"):
            DynamicTerm(profile, cast(Any, sketch), {"vague": cast(Trap, Vague())})


class TestDirection:
    FACTOR = 3.0

    def trained(self, eta: float) -> tuple[float, float]:
        """Mean log S before and after a short training from the same weights."""
        model = Sketch()
        dynamic = term(model, {"rotation": {"eta": eta}})
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        before = explicit(model, Attribute("quats"), images()).log().mean().item()
        for step in range(40):
            optimizer.zero_grad()
            run(dynamic, images(), step).loss.backward()
            optimizer.step()
        return before, explicit(model, Attribute("quats"), images()).log().mean().item()

    def test_positive_eta_raises_s_and_negative_eta_lowers_it(self) -> None:
        (start, chaotic), (again, locked) = self.trained(1.0), self.trained(-1.0)
        assert start == again
        assert chaotic > start + math.log(self.FACTOR)
        assert locked < start - math.log(self.FACTOR)


class TestMemory:
    def test_a_hundred_steps_leave_no_tensor_behind(self, sketch: Sketch) -> None:
        """Counted with the cycle collector off, so that no step leaves a cycle to it."""
        dynamic = term(sketch, {"color": {"eta": 1.0, "probes": 2}, "scale": {"eta": -1.0, "estimator": "sum"}})
        optimizer = torch.optim.SGD(sketch.parameters(), lr=1e-4)
        gaussians, inputs = sketch.forward_gaussians(images()).detach(), images()
        counts = {}
        gc.collect()
        gc.disable()
        try:
            for step in range(100):
                optimizer.zero_grad()
                dynamic(TargetPass(step, inputs, gaussians, {})).loss.backward()
                optimizer.step()
                if step in (4, 99):
                    counts[step] = sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())
        finally:
            gc.enable()
        assert counts[4] == counts[99] > len(list(sketch.parameters()))


Open = Callable[..., Any]


class TestGenerator:
    """The term on LGM itself."""

    @pytest.fixture
    def attentive(self, make_micro: Callable[..., LGM]) -> LGM:
        return make_micro(down_attention=(False, True)).train()

    @pytest.fixture
    def views(self) -> Tensor:
        return torch.randn(2, 4, 9, 16, 16, generator=torch.Generator().manual_seed(1))

    @pytest.mark.parametrize("precision", ["fp32", "bf16"])
    def test_gradient_checkpointing_changes_no_gradient(self, attentive: LGM, views: Tensor, precision: str) -> None:
        dynamic = term(attentive, {"rotation": {"eta": 0.5}, "position": {"eta": -0.5}})
        dynamic.precision = precision
        plain = run(dynamic, views[:1])
        expected = gradients(plain.loss, attentive)
        attentive.enable_gradient_checkpointing()
        checkpointed = run(dynamic, views[:1])
        assert checkpointed.loss.item() == plain.loss.item()
        assert sum(part.abs().sum() for part in expected) > 0
        for found, part in zip(gradients(checkpointed.loss, attentive), expected, strict=True):
            torch.testing.assert_close(found, part, rtol=1e-5, atol=1e-7)

    def test_half_precision_is_close(self, attentive: LGM, views: Tensor) -> None:
        dynamic = term(attentive, {"scale": {"eta": 1.0}})
        values = {"fp32": run(dynamic, views[:1]).loss.item()}
        dynamic.precision = "bf16"
        values["bf16"] = run(dynamic, views[:1]).loss.item()
        assert values["bf16"] != values["fp32"]
        assert values["bf16"] == pytest.approx(values["fp32"], abs=0.1)

    def test_attention_is_differentiated_twice_only_within_its_context(self) -> None:
        attention, tokens = Attention(8, 2).double(), torch.randn(1, 5, 8, dtype=torch.float64)

        def second(_: Tensor) -> Tensor:
            (first,) = torch.autograd.grad(attention(tokens).square().sum(), attention.qkv.weight, create_graph=True)
            return torch.autograd.grad(first.square().sum(), attention.qkv.weight)[0]

        with pytest.raises(RuntimeError, match="derivative"):
            second(tokens)
        with twice_differentiable():
            assert second(tokens).abs().sum() > 0
            within = attention(tokens)
        torch.testing.assert_close(attention(tokens), within)
        with pytest.raises(RuntimeError, match="derivative"):
            second(tokens)

    def test_the_sign_of_eta_turns_lgm_either_way(self, make_micro: Callable[..., LGM], views: Tensor) -> None:
        ends = {}
        for eta in (1.0, -1.0):
            model = make_micro()
            dynamic = term(model, {"color": {"eta": eta}})
            measure = term(model, {"color": {"eta": -1.0, "probes": 2}})
            optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
            start = run(measure, views[:1]).loss.item()
            for step in range(4):
                optimizer.zero_grad()
                run(dynamic, views[:1], step).loss.backward()
                optimizer.step()
            ends[eta] = run(measure, views[:1]).loss.item() - start
        assert ends[1.0] > math.log(2)
        assert ends[-1.0] < -math.log(2)

    @pytest.mark.parametrize("every", [1, 2])
    def test_the_term_is_added_with_the_weight_of_the_traps(self, open_mini: Open, every: int) -> None:
        table = ("traps.position.dynamic.eta=0.5", f"traps.position.dynamic.every={every}")
        weights = ("train.source_ratio=0.3", "train.trap_weight=5.0")
        plain, with_term = (self.objective(open_mini(*weights, *extra)) for extra in ((), table))
        before, after = plain(0), with_term(0)
        added = after.get("position_dynamic", torch.zeros(()))
        assert ("position_dynamic" in after) == (every == 1)
        assert after["position_static"].item() == before["position_static"].item()
        assert after["total"].item() == pytest.approx((before["total"] + 0.7 * 5.0 * added).item(), rel=1e-5)
        if every == 2:
            assert after["total"].item() == before["total"].item(), "a step without the term is as it was"

    def test_gradient_reaches_only_what_is_trained(self, open_mini: Open) -> None:
        opened = open_mini("traps.opacity.dynamic.eta=-0.5")
        chosen = select_parameters(opened.model, ["unet.conv_in"], freeze_head=True)
        objective = self.objective(opened)
        terms = objective(0)
        assert terms["opacity_dynamic"].isfinite()
        terms["total"].backward()
        touched = [name for name, parameter in opened.model.named_parameters() if parameter.grad is not None]
        assert touched == list(chosen)

    def objective(self, opened: Any) -> DefenseObjective:
        teacher = LGM(**opened.model.config)
        teacher.load_state_dict(opened.model.state_dict())
        return DefenseObjective(opened.bench, opened.model, teacher, TrapSet.from_profile(opened.bench.profile))
