"""What a run works on, noted when it begins and compared when it is resumed."""

from __future__ import annotations

from geotrap_cli.errors import UsageError
from geotrap_cli.models.generator import GaussianGenerator
from geotrap_cli.models.tensors import weights_hash
from geotrap_cli.provenance import record_environment
from geotrap_cli.run_folder import RunFolder
from geotrap_cli.training.workbench import Workbench


def record_inputs(run: RunFolder, bench: Workbench, model: GaussianGenerator) -> None:
    """Write the splits, the hardware and the content hashes of data and undefended weights into the manifest.

    Raises:
        UsageError: The run was resumed and finds other data or weights than it began with.
    """
    facts = {
        "data": bench.dataset.fingerprint(),
        "weights": weights_hash(model),
        "splits": bench.splits.as_dict(),
    }
    before = run.manifest
    changed = [name for name, value in facts.items() if before.get(name, value) != value]
    if changed:
        what = f"the {' and '.join(changed)} of {run.path} are not those it began with"
        raise UsageError(what, "Bring them back, or start a new run")
    run.record(**facts, device=str(bench.device), environment=record_environment(str(bench.device)))
