"""The page's server: on this machine alone, quiet on stdout, gone when it is closed; and the page in a browser."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from geotrap_cli.errors import UsageError
from geotrap_cli.viewer.exhibit import Exhibit
from geotrap_cli.viewer.request import ViewRequest
from geotrap_cli.viewer.server import Server
from geotrap_cli.viewer.sources import AttackGaussians

pytest.importorskip("viser", reason="viser is not installed")
VERDICT = "VALID: the defense withstood what was tested."


@pytest.fixture
def exhibit(shown: AttackGaussians, monkeypatch: pytest.MonkeyPatch) -> Exhibit:
    monkeypatch.setattr("geotrap_cli.viewer.exhibit.open_attack", lambda _: shown)
    return Exhibit({"lora": shown.pair}, VERDICT)


def reachable(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_it_listens_on_the_loopback_address_alone(exhibit: Exhibit, capsys: pytest.CaptureFixture[str]) -> None:
    with Server(exhibit, ViewRequest()) as server:
        assert server.url == f"http://127.0.0.1:{server.port}"
        assert reachable("127.0.0.1", server.port)
        # Part of the loopback network too, so that whoever listens everywhere would answer here.
        assert not reachable("127.0.0.2", server.port)
    assert not reachable("127.0.0.1", server.port)
    assert capsys.readouterr().out == ""


def test_no_page_can_open_a_way_out(exhibit: Exhibit) -> None:
    """viser can tunnel a page through a public server, when any page asks for it."""
    with Server(exhibit, ViewRequest()) as server:
        assert server._server.request_share_url() is None
        assert server._server._share_tunnel is None


def test_a_port_that_is_taken_or_an_address_of_others_is_refused(exhibit: Exhibit) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1") as error:
            Server(exhibit, ViewRequest(port=taken.getsockname()[1]))
    assert "--port" in str(error.value.hint)
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1"):
        Server(exhibit, ViewRequest(host="192.0.2.1"))


def test_the_port_asked_for_is_taken(exhibit: Exhibit) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Server(exhibit, ViewRequest(port=port)) as server:
        assert server.port == port


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("me", False)],
)
def test_which_addresses_are_local(host: str, local: bool) -> None:
    assert ViewRequest(host=host).is_local is local


def test_in_a_browser(exhibit: Exhibit, open_browser: Callable[..., Any]) -> None:
    browser_page = open_browser(640, 400, "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
    asked: list[str] = []
    problems: list[str] = []
    browser_page.on("request", lambda request: asked.append(request.url))
    browser_page.on("pageerror", lambda error: problems.append(str(error)))
    with Server(exhibit, ViewRequest()) as server:
        browser_page.goto(server.url)
        browser_page.get_by_text(VERDICT).wait_for()
        # It begins where the attack ended.
        browser_page.get_by_text("after 20 of 20 steps of lora").wait_for()
        shown = browser_page.inner_text("body")
        assert "undefended: 22.0 dB (3 Gaussians)" in shown
        assert "defended: 14.0 dB (3 Gaussians)" in shown
        assert browser_page.locator("input[value='target: knife/2']").count() > 0
        slider = browser_page.locator("[role=slider]").first
        slider.focus()
        slider.press("ArrowLeft")
        browser_page.get_by_text("after 10 of 20 steps of lora").wait_for()
        assert "undefended: 21.0 dB (2 Gaussians)" in browser_page.inner_text("body")
        assert all(url.startswith((server.url, f"blob:{server.url}", "data:")) for url in asked), asked
        assert problems == []
