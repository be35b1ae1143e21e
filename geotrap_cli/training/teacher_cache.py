"""The teacher's outputs on disk, under keys made of content alone: whatever decides an output is in its key.

One file an object and choice of input views, ``<root>/teacher-v1/<teacher>/<input>.safetensors``, with the tensor
``raw`` ``[N, 14]`` in the precision it was computed in: 4·14·N bytes in float32 (0.23 MB for nano, 3.7 MB for big). A
folder belongs to one teacher and may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from geotrap_cli.atomic import atomic_path
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.loading import weights_hash
from geotrap_cli.tensor_files import write_tensors
from geotrap_cli.training.precision import resolve_precision

LAYOUT_VERSION: Final = 1
"""Raise this whenever the network's arithmetic, the layout of its output or that of the files changes."""

_RAW = "raw"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TeacherCache:
    """Stored outputs of one teacher; any number of processes may use it at once, because files appear whole.

    Attributes:
        folder: Where they lie; see :func:`teacher_folder`.
    """

    folder: Path

    def get(self, image: Tensor, compute: Callable[[], Tensor]) -> Tensor:
        """Return the stored output for one object's input, or compute and store it.

        Args:
            image: Input of the generator for one object, ``[1, V, 9, H, W]``.
            compute: Returns its output, ``[1, N, 14]``.

        Returns:
            ``[1, N, 14]``, bit by bit what ``compute`` returned, on the CPU if it was stored. Not to be written to:
            it may be a view of the file.

        Raises:
            OSError: The file cannot be written.
        """
        key = input_key(image)
        path = self.folder / f"{key}.safetensors"
        found = _read(path, key)
        if found is not None:
            return found.unsqueeze(0)
        made = compute()
        with atomic_path(path) as temporary:
            write_tensors(temporary, {_RAW: made[0]}, _label(key, made[0]))
        return made


def teacher_folder(root: Path, teacher: GaussianGenerator, precision: str, device: torch.device) -> Path:
    """Return the folder of a teacher's outputs: another one for other weights, sizes, precision or arithmetic.

    Args:
        root: Cache folder of the program.
        teacher: The generator; its weights and its configuration count, as the number of heads leaves no trace in the
            weights.
        precision: ``train.precision``.
        device: Where it computes: the CPU and a GPU round differently, and so do two GPUs, two layouts in memory, TF32
            and two releases of PyTorch.
    """
    facts = {
        "weights": weights_hash(teacher),
        "config": {name: value for name, value in teacher.config.items() if not name.startswith("_")},
        "precision": resolve_precision(precision, device),
        "arithmetic": _arithmetic(teacher, device),
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return root / f"teacher-v{LAYOUT_VERSION}" / digest


def _arithmetic(teacher: GaussianGenerator, device: torch.device) -> dict[str, str | bool]:
    """What else decides about the last bits of an output."""
    plain = all(weight.is_contiguous() for weight in teacher.parameters())
    facts: dict[str, str | bool] = {"device": device.type, "channels_last": not plain}
    if device.type == "cuda":
        facts["name"] = torch.cuda.get_device_name(device) if torch.cuda.is_available() else "none"
        facts["tf32"] = _tf32()
    return facts


def _tf32() -> str:
    """Where products and convolutions on a GPU may be rounded to TF32."""
    return f"{torch.backends.cuda.matmul.allow_tf32} {torch.backends.cudnn.allow_tf32}"


def input_key(image: Tensor) -> str:
    """SHA-256 of a generator's input: shape, dtype and values.

    The pictures, the choice, order and size of the views and their cameras are all in the values, so there is nothing
    else about the data that could go stale.
    """
    digest = hashlib.sha256(f"{image.dtype} {list(image.shape)}\n".encode())
    digest.update(_bytes(image))
    return digest.hexdigest()


def _read(path: Path, key: str) -> Tensor | None:
    """The stored output ``[N, 14]``, mapped into memory; None where there is none, or none that is sound."""
    try:
        with safe_open(path, framework="pt", device="cpu") as handle:
            found: Tensor = handle.get_tensor(_RAW)
            if handle.metadata() == _label(key, found):
                return found
    except FileNotFoundError:
        return None
    except RuntimeError:
        # PyTorch opens the file a second time, by its name: it was deleted in between.
        return None
    except SafetensorError:
        pass
    _logger.warning("%s is damaged; the teacher's output is computed again", path)
    return None


def _label(key: str, raw: Tensor) -> dict[str, str]:
    """What a sound file says of itself: safetensors notices a file that was cut, but no flipped bit or wrong name.

    One entry, because safetensors writes several in any order, and the same content is to make the same file.
    """
    return {"input crc32": f"{key} {zlib.crc32(_bytes(raw)):08x}"}


def _bytes(tensor: Tensor) -> memoryview:
    # NumPy has no bfloat16.
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
