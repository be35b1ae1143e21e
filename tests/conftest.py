"""What all tests share: folders of their own, one thread, and a generator and a profile small enough to train."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Before torch is imported: tests run side by side, and sums must not depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")

if TYPE_CHECKING:
    from geotrap_cli.models.lgm.model import LGM
    from geotrap_cli.profile import LoadedProfile

MICRO: dict[str, Any] = {
    "down_channels": (8, 8),
    "down_attention": (False, False),
    "up_channels": (8, 8),
    "up_attention": (False, False),
    "norm_groups": 4,
    "num_heads": 2,
    "input_size": 16,
    "splat_size": 16,
    "output_size": 16,
}
"""Every kind of layer of LGM, with one attention; 1024 Gaussians."""

MINI_PROFILE = """
[model]
weights = "{weights}"
[data]
target = ["knife", "hammer"]
source = ["crate", "dice"]
objects_per_category = 6
workers = 1
[train]
steps = 7
batch_size = 2
supervised_views = 2
lr = 1e-3
checkpoint_every = 3
log_every = 1
[pretrain]
eval_every = 4
[traps.position]
[traps.opacity]
[attack]
steps = 4
batch_size = 2
supervised_views = 2
evaluations = 2
controls = []
[eval]
objects = 3
views = 2
batch_size = 2
bootstrap = 20
"""


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rendered views, made once for all tests and, as their files are written atomically, for all workers."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return root / "rendered-views"


@pytest.fixture(autouse=True)
def own_folders(shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the user's cache or runs."""
    monkeypatch.setenv("GEOTRAP_CACHE", str(shared_cache))
    monkeypatch.setenv("GEOTRAP_RUNS", str(tmp_path / "runs"))


@pytest.fixture(scope="session")
def make_runs(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs commands one after another in a new folder of runs, which is returned; every command must succeed."""
    from geotrap_cli.__main__ import main

    def make(*commands: Sequence[str]) -> Path:
        root = tmp_path_factory.mktemp("made") / "runs"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("GEOTRAP_CACHE", str(shared_cache))
            patch.setenv("GEOTRAP_RUNS", str(root))
            for command in commands:
                assert main([*command, "--quiet"]) == 0
        return root

    return make


@pytest.fixture
def open_browser() -> Iterator[Callable[..., Any]]:
    """Opens a page in a headless Chromium that is installed on the machine; where none is, the test is skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium on this machine")
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(sync_api.sync_playwright())

        def open_(width: int, height: int, *flags: str) -> Any:
            arguments = ["--no-sandbox", "--disable-dev-shm-usage", *flags]
            browser = playwright.chromium.launch(executable_path=path, args=arguments, timeout=120_000)
            stack.callback(browser.close)
            page = browser.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(120_000)
            return page

        yield open_


@pytest.fixture(scope="session")
def make_micro() -> Callable[..., LGM]:
    """Makes a tiny LGM with random weights of a seed."""
    import torch

    from geotrap_cli.models.lgm.model import LGM

    def make(seed: int = 0, **overrides: Any) -> LGM:
        torch.manual_seed(seed)
        return LGM(**(MICRO | overrides)).eval()

    return make


@pytest.fixture
def micro(make_micro: Callable[..., LGM]) -> LGM:
    return make_micro()


@pytest.fixture(scope="session")
def micro_weights(make_micro: Callable[..., LGM], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder with the tiny LGM."""
    from geotrap_cli.models.loading import save_generator

    folder = tmp_path_factory.mktemp("micro") / "weights"
    save_generator(make_micro(), folder)
    return folder


@pytest.fixture(scope="session")
def mini_profile(micro_weights: Path) -> Path:
    """A profile with which every command takes seconds."""
    path = micro_weights.parent / "mini.toml"
    path.write_text(MINI_PROFILE.format(weights=micro_weights))
    return path


@pytest.fixture(scope="session")
def load_mini(mini_profile: Path) -> Callable[..., LoadedProfile]:
    """Loads the mini profile with ``--set`` arguments."""
    from geotrap_cli.profile import load_profile

    def load(*overrides: str) -> LoadedProfile:
        return load_profile(mini_profile, overrides, env={})

    return load
