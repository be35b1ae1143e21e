"""The report as one HTML file: whole without a network, and with the numbers that the JSON has."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from geotrap_cli.options import CommonOptions
from geotrap_cli.plugins import plugin_keys
from geotrap_cli.reports.compare import CompareResult, run_compare
from geotrap_cli.reports.page.charts import Chart, Line
from geotrap_cli.reports.page.pictures import galleries
from geotrap_cli.reports.request import CompareRequest
from geotrap_cli.reports.suite_tables import number_text, overall_numbers

STRONG, RESISTING = (18.0, 21.0, 23.0, 24.0, 24.5), (14.0, 15.0, 16.0, 16.5, 17.0)


class Page(HTMLParser):
    """What a page links to and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag == "a":
            self.anchors.append(found["href"] or "")
        self.sources += [value for name, value in attrs if name in ("src", "srcset", "data", "poster") and value]
        if tag == "link":
            self.sources.append(found["href"] or "")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(autouse=True)
def few_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geotrap_cli.reports.compare_files.draw_curves", lambda _, path: path.touch())


def compare(runs: Any, **request: Any) -> CompareResult:
    console = Console(file=StringIO())
    result = run_compare(CommonOptions(runs=runs.root, quiet=True), console, CompareRequest(**request))
    assert isinstance(result, CompareResult)
    return result


def page(result: CompareResult) -> Page:
    return Page(result.files["report"].read_text(encoding="utf-8"))


@pytest.fixture
def pair_run(runs: Any, make_pair: Any) -> Path:
    """A run with two attacks and their pictures, also from halfway."""
    cells = [*make_pair(STRONG, RESISTING), *make_pair(STRONG, (14.0, 14.5, 15.0, 15.5, 15.6), "full")]
    path: Path = runs.attack(cells, draw=True)
    for file in (path / "renders").glob("*defended.safetensors"):
        pictures = load_file(file)
        halfway = {name.replace("@0", "@50"): value // 2 for name, value in pictures.items() if name.endswith("@0")}
        save_file(pictures | {name: value[:1].contiguous() for name, value in halfway.items()}, file)
    return path


def test_first_words_are_the_verdict_and_the_numbers_are_those_of_the_json(runs: Any, pair_run: Path) -> None:
    result = compare(runs, gates=("worst_recovery<=0.1",))
    document = json.loads((result.run / "comparison.json").read_text())
    shown = page(result).text
    assert document["headline"] in shown
    assert shown.index("The defense withstood what was tested") < shown.index("Recovery curves")
    assert "Believe it? Yes, for what was tested." in shown
    assert "gate failed: worst_recovery<=0.1" in shown
    for name, number in overall_numbers(result.comparison).items():
        text = number.missing or number_text(number)
        assert re.search(rf"{name} {re.escape(number_text(number))}", shown), name
        assert text in shown
    for row in document["recovery_by_budget"]["rows"]:
        assert " ".join([row["attack"], *(f"{share:.0%}" for share in row["recovery"])]) in shown


def test_needs_no_network_and_every_link_leads_somewhere_on_the_page(runs: Any, pair_run: Path) -> None:
    result = compare(runs)
    text = result.files["report"].read_text(encoding="utf-8")
    found = Page(text)
    assert len(text) < 10_000_000
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:[^\"]*", "", text))
    assert all(source.startswith("data:") for source in found.sources)
    assert len(found.ids) == len(set(found.ids))
    assert all(anchor.startswith("#") and anchor[1:] in found.ids for anchor in found.anchors)


def test_numbers_lead_to_the_facts_of_their_cells(runs: Any, pair_run: Path) -> None:
    result = compare(runs)
    text = result.files["report"].read_text(encoding="utf-8")
    assert re.search(r'href="#attack-1-defended">17\.00</a>', text)
    cell = text.partition('id="attack-1-defended"')[2].partition("</dl>")[0]
    facts = dict(zip(*[iter(re.findall(r"<d[td][^>]*>([^<]*)</d[td]>", cell))] * 2, strict=True))
    assert facts["attack"] == "lora" and facts["weights"] == "defended" and facts["steps"] == "100"
    assert facts["run"] == f"../{pair_run.name}"
    assert facts["content key"].startswith("unknown: no results.jsonl")


def test_names_are_text_and_no_markup(runs: Any, make_pair: Any) -> None:
    evil = "<b>x</b>"
    run = runs.attack(make_pair(STRONG, RESISTING, ids=[f"mug/{evil}", "mug/1"]), draw=True)
    renders = run / "renders"
    for file in renders.iterdir():
        save_file({name.replace("mug/0", f"mug/{evil}"): value for name, value in load_file(file).items()}, file)
    text = compare(runs).files["report"].read_text(encoding="utf-8")
    assert evil not in text
    assert html.escape(evil) in text


def test_what_is_missing_says_so(runs: Any, make_pair: Any) -> None:
    runs.attack(make_pair((18.0, 18.1), (14.0, 14.1)))
    shown = page(compare(runs)).text
    assert "No evidence for the defense" in shown and "Believe it? No." in shown
    assert "No pictures of lora: its run kept no pictures" in shown
    assert "Not measured: changes by unit: runs/train with the defended weights is not on this machine" in shown
    closing = shown.partition("Nothing in this list counts as safe.")[2]
    assert "training from scratch (control)" in closing and "seeds other than 0" in closing
    assert all(key in closing for key in plugin_keys("geotrap.attacks") if key != "lora")


def test_pictures_stand_at_their_step_and_those_that_were_not_kept_are_named(runs: Any, pair_run: Path) -> None:
    undefended = pair_run / "renders" / "lora-undefended.safetensors"
    pictures = load_file(undefended)
    save_file({name: value for name, value in pictures.items() if not name.endswith("@50")}, undefended)
    (found, _), missing = galleries(compare(runs).comparison)
    assert missing == []
    assert (found.attack, found.steps, found.glance) == ("lora", [0, 50, 100], [0, 2])
    frames = found.strips[0].frames
    assert [frame.uri[:15] for frame in frames["defended"]] == ["data:image/webp"] * 3
    assert [bool(frame.uri) for frame in frames["undefended"]] == [True, False, True]
    assert [frame.caption for frame in frames["defended"]] == ["13.0 dB", "15.0 dB", "16.0 dB"]


def test_a_page_that_would_grow_too_large_leaves_pictures_out_aloud(
    runs: Any, pair_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = compare(runs).comparison
    (first, _), _ = galleries(comparison)
    monkeypatch.setattr("geotrap_cli.reports.page.pictures.BUDGET", first.size)
    found, missing = galleries(comparison)
    assert [gallery.attack for gallery in found] == ["lora"]
    assert missing == ["full: left out, the page would grow too large"]


def test_a_chart_leaves_a_gap_where_nothing_is_defined() -> None:
    line = Line("defended", [0, 10, 20, 30], [0.0, float("nan"), 0.5, 1.0], [None] * 4, [None] * 4)
    drawn = str(Chart("t", [line], {}).svg())
    path = re.search(r'class="line defended" d="([^"]*)"', drawn)
    assert path is not None and path[1].count("M") == 2 and path[1].count("L") == 1
    assert drawn.count("<circle") == 3 and "band" not in drawn and "nan" not in drawn


def test_log_steps_spread_the_early_ones() -> None:
    line = Line("defended", [0, 10, 100, 1000], [0.0, 0.1, 0.2, 0.3])
    places = {}
    for axis in ("linear", "log"):
        drawn = str(Chart("t", [line], {}, axis).svg())  # type: ignore[arg-type]
        places[axis] = [float(x) for x in re.findall(r'cx="([^"]*)"', drawn)]
    assert places["linear"][1] - places["linear"][0] < 5 < 60 < places["log"][1] - places["log"][0]
    assert places["log"][2] - places["log"][1] == pytest.approx(places["log"][3] - places["log"][2], abs=0.2)
    assert places["log"][0] == places["linear"][0] and places["log"][-1] == places["linear"][-1]


def test_in_a_browser(runs: Any, pair_run: Path, open_browser: Callable[..., Any]) -> None:
    browser_page = open_browser(390, 844, "--disable-gpu")
    result = compare(runs)
    report = result.files["report"].resolve().as_uri()
    asked: list[str] = []
    problems: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    browser_page.on("pageerror", lambda error: problems.append(str(error)))
    browser_page.goto(report)
    tile = browser_page.locator(".tile .value").first.text_content()
    assert tile.startswith("21% [")
    # Nothing is wider than the telephone.
    assert browser_page.evaluate("document.documentElement.scrollWidth") <= 390

    gallery = browser_page.locator(".gallery").first
    seen = gallery.locator(".strip").first.locator("figure:nth-of-type(3) .frame:visible .caption")
    assert seen.text_content() == "13.0 dB"
    gallery.locator("input[type=range]").press("End")
    assert seen.text_content() == "16.0 dB"
    assert gallery.locator("output").text_content() == "100 of 100 steps (100%)"

    chart = browser_page.locator("#curves figure").first
    assert chart.locator(".linear").is_visible() and not chart.locator(".log").is_visible()
    browser_page.locator("input[name=axis][value=log]").check()
    assert chart.locator(".log").is_visible() and not chart.locator(".linear").is_visible()

    assert not browser_page.locator("#attack-1-defended").is_visible()
    browser_page.locator("#attacks td a", has_text="17.00").first.click()
    browser_page.locator("#attack-1-defended").wait_for(state="visible")
    assert [url for url in asked if not url.startswith(("data:", report))] == []
    assert problems == []


def test_the_title_tells_the_state(runs: Any, pair_run: Path) -> None:
    """The page's title begins with the state, for whoever has many of them open."""
    text = compare(runs).files["report"].read_text(encoding="utf-8")
    assert "<title>VALID: the defense withstood what was tested.</title>" in text
