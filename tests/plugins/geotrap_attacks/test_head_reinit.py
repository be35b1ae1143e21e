from __future__ import annotations

from collections.abc import Callable

import torch
from geotrap_attacks.head_reinit import HeadReinitAttack
from torch import Tensor

from geotrap_cli.attacks import AttackContext
from geotrap_cli.models.lgm.model import LGM

Make = Callable[..., LGM]
HEAD = {"unet.conv_out.weight", "unet.conv_out.bias", "conv.weight", "conv.bias"}


def changed(before: LGM, after: LGM) -> set[str]:
    state = after.state_dict()
    return {name for name, value in before.state_dict().items() if not torch.equal(value, state[name])}


def test_random_replaces_the_head_and_nothing_else_and_the_seed_decides_it(
    make_pico: Make, make_context: Callable[..., AttackContext]
) -> None:
    attack = HeadReinitAttack().variants()["head_reinit-random"]
    model, again, other = (make_pico() for _ in range(3))
    for each, seed in ((model, 3), (again, 3), (other, 4)):
        attack.edit(each, make_context(seed=seed))
    assert changed(make_pico(), model) == HEAD
    assert changed(model, again) == set()
    assert changed(model, other) == HEAD


def test_the_identity_passes_on_what_conv_out_gives(pico: LGM, context: AttackContext) -> None:
    seen: list[Tensor] = []
    pico.unet.conv_out.register_forward_hook(lambda *seen_by_hook: seen.append(seen_by_hook[2]))
    before = {name: value.clone() for name, value in pico.state_dict().items()}
    HeadReinitAttack().variants()["head_reinit-identity"].edit(pico, context)
    raw = pico(context.target(0, 1).images)
    torch.testing.assert_close(raw.view(1, 4, 8, 8, 14), seen[0].movedim(1, -1)[None])
    assert {n for n, value in pico.state_dict().items() if not torch.equal(value, before[n])} == {
        "conv.weight",
        "conv.bias",
    }


def test_a_fused_head_is_the_identity_already(make_pico: Make, context: AttackContext) -> None:
    variants = HeadReinitAttack().variants()
    model = make_pico(fused_head=True)
    variants["head_reinit-random"].edit(model, context)
    assert changed(make_pico(fused_head=True), model) == {"unet.conv_out.weight", "unet.conv_out.bias"}
    model = make_pico(fused_head=True)
    variants["head_reinit-identity"].edit(model, context)
    assert changed(make_pico(fused_head=True), model) == set()
