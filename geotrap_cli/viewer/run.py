"""``geotrap view``: choose a run, say what there is to see, and serve it."""

from __future__ import annotations

import contextlib
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from geotrap_cli.evaluation.bootstrap import Resampling
from geotrap_cli.options import CommonOptions
from geotrap_cli.reports.attack_runs import select_runs
from geotrap_cli.reports.comparison import judge_selection
from geotrap_cli.reports.wording import headline
from geotrap_cli.viewer.exhibit import Exhibit
from geotrap_cli.viewer.request import ViewRequest
from geotrap_cli.viewer.server import Server, check_viser
from geotrap_cli.viewer.sources import expected


@dataclass(frozen=True)
class ViewResult:
    """What is shown, or with ``--dry-run`` would be.

    Attributes:
        run: The attack run.
        verdict: What `geotrap compare` says of it.
        attacks: By attack, the objects with their steps.
        server: The running server; None: a dry run.
    """

    run: Path
    verdict: str
    attacks: Mapping[str, Mapping[str, list[int]]]
    server: Server | None

    def payload(self) -> dict[str, Any]:
        """Return the result for ``--json``."""
        url = None if self.server is None else self.server.url
        return {"run": str(self.run), "verdict": self.verdict, "attacks": self.attacks, "url": url}

    def render(self, console: Console) -> None:
        """Print the address; of a dry run, what there would be to see."""
        if self.server is not None:
            console.print(self.server.url, soft_wrap=True)
            return
        console.print(f"{self.run}\n{self.verdict}", soft_wrap=True)
        for label, objects in self.attacks.items():
            for name, steps in objects.items():
                console.print(f"{label}: {name} after {', '.join(map(str, steps))} steps", soft_wrap=True)

    def wait(self) -> None:
        """Serve until Ctrl-C, which is how a viewer ends; return at once where nothing is served."""
        if self.server is None:
            return
        with self.server, contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)


def run_view(options: CommonOptions, request: ViewRequest, console: Console) -> ViewResult:
    """Start the viewer of an attack run.

    Raises:
        UsageError: viser is missing, there is no finished attack run, its cells are missing or broken, there is nothing
            to see, or the address cannot be listened on.
    """
    check_viser()
    selection = select_runs(options, [] if request.run is None else [request.run])
    profile = selection.profile
    judgement = judge_selection(selection, Resampling(profile.data.seed, profile.eval.bootstrap))
    pairs = {attack.label: attack.pair for attack in judgement.attacks}
    attacks = {label: expected(pair) for label, pair in pairs.items()}
    verdict = headline(judgement)
    if options.dry_run:
        return ViewResult(selection.pairs[0].run, verdict, attacks, None)
    say = _silent if options.quiet else console.print
    for note in selection.notes:
        say(note, soft_wrap=True)
    server = Server(Exhibit(pairs, verdict), request)
    say("Ctrl-C ends it", soft_wrap=True)
    if request.open and not _open_in_browser(server.url):
        say("no browser could be opened: open the address in one", soft_wrap=True)
    return ViewResult(selection.pairs[0].run, verdict, attacks, server)


def _open_in_browser(url: str) -> bool:
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    # One that runs in the terminal would take it over, and draws no splats.
    return type(browser) is not webbrowser.GenericBrowser and browser.open(url)


def _silent(*_: object, **__: object) -> None:
    """Say nothing."""
