from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from geotrap_attacks.full import FullAttack

from geotrap_cli.models.lgm.model import LGM
from geotrap_cli.models.loading import load_generator, weights_hash
from geotrap_cli.plugins import load_plugin


def test_it_is_the_entry_point() -> None:
    assert load_plugin("geotrap.attacks", "full") is FullAttack


def test_everything_trains_even_what_was_frozen(make_micro: Callable[..., LGM]) -> None:
    model = make_micro().requires_grad_(False)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    attack = FullAttack()
    parameters = attack.prepare(model)
    assert parameters.keys() == before.keys()
    optimizer = attack.optimizer(list(parameters.values()))
    images = torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    model(images).square().mean().backward()
    optimizer.step()
    assert [name for name, parameter in parameters.items() if torch.equal(parameter, before[name])] == []


def test_the_attacked_model_loads_as_any_other(micro: LGM, tmp_path: Path) -> None:
    attack = FullAttack()
    attack.prepare(micro)
    with torch.no_grad():
        micro.conv.bias += 1.0
    attack.save(micro, tmp_path / "attacked")
    assert weights_hash(load_generator("nano", str(tmp_path / "attacked"))) == weights_hash(micro)
