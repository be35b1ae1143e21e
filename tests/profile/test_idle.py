"""An accepted value acts: what nothing would read is an error, and a resolved profile still loads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

import geotrap_cli
from geotrap_cli.aggregation import METHODS
from geotrap_cli.errors import UsageError
from geotrap_cli.profile import Profile, dump_toml, load_profile
from geotrap_cli.profile.idle import TEMPERED_METHODS


@pytest.mark.parametrize(
    ("overrides", "culprit"),
    [
        (("aggregation.method=mean", "aggregation.temperature=0.5"), "aggregation.temperature: method 'mean'"),
        (("loss.perceptual_weight=2.0",), "loss.perceptual_weight: loss.perceptual is 'none'"),
        (("retain.render_views=3",), "retain.render_views: retain.render_weight is 0"),
        (("attack.control_attacks=lora",), "attack.control_attacks: attack.controls is empty"),
        (
            ("attack.controls=scratch", "attack.control_attacks=full"),
            "attack.control_attacks: 'full' is not among attack.methods",
        ),
        (("pretrain.matrix_lr=0.1",), "pretrain.matrix_lr: pretrain.optimizer is 'adamw'"),
        (("pretrain.surface_weight=0.0", "pretrain.rendering_from=0.5"), "pretrain.rendering_from: pretrain.surface_w"),
        (("data.kind=blender", "data.root=x", "data.objects_per_category=5"), "data.objects_per_category"),
        (("data.root=somewhere",), "data.root: data set 'procedural' does not read it"),
        (("traps.position.dynamic.eta=0",), "traps.position.dynamic.eta: 0 adds nothing"),
        (
            ("traps.position.dynamic={eta=1, estimator='sum', probes=2}",),
            "traps.position.dynamic.probes: estimator 'sum' has no random vectors",
        ),
        (
            ("train.steps=5", "traps.position.dynamic={eta=1, every=6}"),
            "traps.position.dynamic.every: the term would never be added in 5 steps",
        ),
    ],
)
def test_a_value_that_nothing_reads_is_refused_with_its_origin(overrides: tuple[str, ...], culprit: str) -> None:
    with pytest.raises(UsageError, match=re.escape(culprit)) as caught:
        load_profile("pos_opacity", overrides, env={})
    assert "(--set)" in caught.value.message


@pytest.mark.parametrize(
    "overrides",
    [
        ("aggregation.method=logsumexp", "aggregation.temperature=0.5"),
        ("loss.perceptual=dssim", "loss.perceptual_weight=2.0"),
        ("retain.render_weight=1.0", "retain.render_views=3"),
        ("pretrain.optimizer=muon", "pretrain.matrix_lr=0.1"),
        ("attack.controls=scratch", "attack.control_attacks=lora"),
        ("data.workers=2",),
        ("traps.position.dynamic={eta=-1, probes=2, layers='unet.conv_in,unet.norm_out'}",),
        ("train.steps=6", "traps.position.dynamic={eta=1, estimator='sum', every=6}"),
    ],
)
def test_the_same_value_is_welcome_where_it_acts(overrides: tuple[str, ...], tmp_path: Path) -> None:
    loaded = load_profile("pos_opacity", overrides, env={})
    (tmp_path / "resolved.toml").write_text(dump_toml(loaded.profile, loaded.origins))
    assert load_profile(tmp_path / "resolved.toml", env={}).profile == loaded.profile


@pytest.mark.parametrize("name", ["profile.toml", "mine.toml"])
def test_the_profile_of_a_run_may_be_older_than_the_defaults(name: str, tmp_path: Path) -> None:
    stated = "[data]\nkind = 'blender'\nroot = '.'\nobjects_per_category = 24\n[aggregation]\ntemperature = 9.0\n"
    (tmp_path / name).write_text(stated)
    (tmp_path / "manifest.json").write_text("{}")
    if name == "mine.toml":
        with pytest.raises(UsageError, match="2 problems"):
            load_profile(tmp_path / name, env={})
        return
    assert load_profile(tmp_path / name, env={}).origins["aggregation.temperature"] == f"run {tmp_path.name}"
    with pytest.raises(UsageError, match=r"aggregation\.temperature"):
        load_profile(tmp_path / name, ("aggregation.temperature=8.0",), env={})


def test_the_methods_with_a_temperature_are_those_of_the_aggregation() -> None:
    assert set(TEMPERED_METHODS) == {name for name, method in METHODS.items() if "temperature" in method.options}


def test_every_field_has_a_reader() -> None:
    """Outside the schema, somebody asks for each field by its name."""
    package = Path(geotrap_cli.__file__).parent
    files = [file for file in package.rglob("*.py") if "profile" not in file.relative_to(package).parts]
    text = "\n".join(file.read_text() for file in files)
    tables = {name: info.annotation for name, info in Profile.model_fields.items() if name != "traps"}
    fields = [
        f"{table}.{field}"
        for table, model in tables.items()
        if isinstance(model, type) and issubclass(model, BaseModel)
        for field in model.model_fields
    ]
    assert len(fields) > 40
    assert [key for key in fields if not re.search(rf"\.{key.partition('.')[2]}\b", text)] == []
