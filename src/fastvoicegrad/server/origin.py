"""Which requests come from pages of other sites. Whoever opens such a page does not know of them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

LOOPBACK_NAMES = ("localhost",)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host name or address."""
    try:
        return host in LOOPBACK_NAMES or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a request to a server of this machine alone names another host, or comes from another site's page.

    A name of another host may resolve to this machine (DNS rebinding). With a page's images and sounds, browsers send
    no origin, but the relation of the two sites.
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    elsewhere = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    embedded = elsewhere and headers.get("sec-fetch-mode") != "navigate"
    return embedded or not is_loopback(_name(f"//{host}")) or (origin is not None and _place(origin) != host)


def _name(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""


def _place(origin: str) -> str | None:
    """Host and port of an origin; None where it is malformed."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
