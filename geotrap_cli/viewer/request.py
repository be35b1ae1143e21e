"""What a user may ask of the viewer beyond the options that commands share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ViewRequest:
    """What only ``geotrap view`` asks for.

    Attributes:
        run: The attack run; None: the newest finished one.
        host: Address to listen on.
        port: Port to listen on; 0: any free one.
        open: Whether the page is opened in a browser.
    """

    run: Path | None = None
    host: str = LOOPBACK
    port: int = 0
    open: bool = True

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
