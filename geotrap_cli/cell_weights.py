"""The weights that an attack left in its run: a whole model, or an adapter beside the weights it was trained on."""

from __future__ import annotations

from pathlib import Path

from geotrap_cli.compat import ensure_torchvision
from geotrap_cli.errors import UsageError
from geotrap_cli.models.folder import CONFIG_NAME, load_folder
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.run_folder import RunFolder

WEIGHTS = "weights"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"


def find_cell_weights(run: Path, method: str, subject: str) -> Path:
    """Return the folder with the weights of one cell; those of a cell that was taken over lie in the run it is from.

    Raises:
        UsageError: There are none.
    """
    name = f"{method}-{subject}"
    origin = RunFolder(run).manifest.get("reused", {}).get(name, run)
    for folder in (run / WEIGHTS / name, Path(origin) / WEIGHTS / name):
        if folder.is_dir():
            return folder
    kept = sorted(path.name for path in (run / WEIGHTS).glob("*") if path.is_dir())
    hint = f"it kept those of {', '.join(kept)}" if kept else "repeat the attack with `geotrap attack --no-reuse`"
    raise UsageError(f"{run} kept no weights of {name}", hint=hint)


def open_cell_weights(folder: Path, base: GaussianGenerator) -> GaussianGenerator:
    """Return the attacked model on the CPU.

    Args:
        folder: What `find_cell_weights` gave.
        base: The weights before the attack, on the CPU; an adapter is merged into them, in place.

    Raises:
        UsageError: The folder holds neither a model nor an adapter, or one that does not fit.
    """
    if (folder / CONFIG_NAME).is_file():
        return load_folder(folder)
    if not ((folder / ADAPTER_CONFIG).is_file() and (folder / ADAPTER).is_file()):
        what = f"{folder} holds neither a diffusers folder nor an adapter in PEFT's format"
        raise UsageError(what, hint="the attack saves its weights in a form of its own: export them with its own tools")
    return _merge_adapter(folder, base)


def _merge_adapter(folder: Path, base: GaussianGenerator) -> GaussianGenerator:
    ensure_torchvision()
    import peft

    try:
        # PEFT also takes pickled weights, but only where there is no safetensors file.
        adapted = peft.PeftModel.from_pretrained(base, str(folder), torch_device="cpu")
        merged: GaussianGenerator = adapted.merge_and_unload()
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        first = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the adapter in {folder} does not fit the weights: {first}", hint="repeat the attack"
        ) from error
    return merged.eval()
