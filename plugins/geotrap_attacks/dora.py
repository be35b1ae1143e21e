"""DoRA: magnitude and direction of each weight are trained apart (Liu et al. 2024), the direction by LoRA."""

from __future__ import annotations

from typing import Any, ClassVar

from geotrap_attacks.lora import LoraAttack


class DoraAttack(LoraAttack):
    """DoRA adapters by PEFT."""

    key: ClassVar[str] = "dora"
    summary: ClassVar[str] = "DoRA adapters: LoRA with a trained magnitude (PEFT)"
    source: ClassVar[str] = "Liu et al. 2024, DoRA"

    def adapter_options(self) -> dict[str, Any]:
        """Return PEFT's switch for DoRA."""
        return {"use_dora": True}
