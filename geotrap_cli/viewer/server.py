"""The page's server: on this machine alone unless asked otherwise, and never through anybody else's."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import socket
from types import TracebackType
from typing import Any

from geotrap_cli.errors import GeotrapError, UsageError
from geotrap_cli.viewer.exhibit import Exhibit
from geotrap_cli.viewer.request import LOOPBACK, ViewRequest

_EVERYWHERE = ("0.0.0.0", "::")


def check_viser() -> None:
    """Refuse to begin without the package that serves the page.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec("viser") is None:
        raise UsageError("the viewer needs the package viser, which is not installed", "pip install 'geotrap[view]'")


class Server:
    """Serves an exhibit until it is closed; use it as a context.

    Args:
        exhibit: What there is to see.
        request: Where to listen.

    Raises:
        UsageError: The address or the port cannot be listened on, or there is nothing to see.
    """

    def __init__(self, exhibit: Exhibit, request: ViewRequest) -> None:
        first = exhibit.first()
        _check_address(request.host, request.port)
        # viser greets and takes leave on stdout, which carries results.
        with contextlib.redirect_stdout(io.StringIO()):
            self._server = _start(request)
        self.host, self.port = request.host, int(self._server.get_port())
        if request.port not in (0, self.port):
            self.close()
            raise GeotrapError(f"port {request.port} was taken meanwhile", hint="choose another with --port")
        _decorate(self._server, exhibit)
        self._server.on_client_connect(lambda client: _open_page(client, exhibit, first))

    @property
    def url(self) -> str:
        """The address of the page, as this machine reaches it."""
        host = LOOPBACK if self.host in _EVERYWHERE else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def close(self) -> None:
        """Stop listening and let go of every page."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._server.stop()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _start(request: ViewRequest) -> Any:
    import viser

    class LocalServer(viser.ViserServer):
        """Without the way out that any page could ask for: a tunnel through a public server."""

        def request_share_url(self, verbose: bool = True) -> str | None:
            del verbose
            return None

    return LocalServer(host=request.host, port=request.port, label="geotrap view", verbose=False)


def _decorate(server: Any, exhibit: Exhibit) -> None:
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    # Beside the scene: floating, it would hide the defended column.
    server.gui.main_panel.dock_right()
    server.scene.set_up_direction("+y")
    server.gui.add_markdown(exhibit.verdict)


def _open_page(client: Any, exhibit: Exhibit, first: str) -> None:
    from geotrap_cli.viewer.page import Page

    Page(client, exhibit, first)


def _check_address(host: str, port: int) -> None:
    """Refuse what cannot be listened on; the server itself would go on to other ports, for ever if need be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        what = f"cannot listen on {host}, port {port}: {error.strerror or error}"
        raise UsageError(what, hint="choose another --port (0: any free one) or --host") from error
