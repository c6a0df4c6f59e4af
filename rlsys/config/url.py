"""Addresses of services, as settings."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Annotated

import httpx
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from rlsys.errors import ConfigError

METADATA = {
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
}
"""Where clouds hand out credentials to whoever asks from one of their machines."""
NAT64 = ip_network("64:ff9b::/96")
SECRET = re.compile(r"key|token|secret|passw|auth|sig|credential", re.IGNORECASE)
"""Names in a query whose value is not for configs and logs."""


def _usable(url: str) -> str:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise PydanticCustomError("url", "not a URL: {error}", {"error": str(error)}) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise PydanticCustomError("url", "must be http://HOST... or https://HOST...")
    if parsed.userinfo:
        raise PydanticCustomError(
            "url", "must not hold a user or password: put a token into an environment variable, its name into key_env"
        )
    if (why := refusal(parsed.host)) is not None:
        raise PydanticCustomError("url", "must not be {why}", {"why": why})
    if secret := next((name for name in parsed.params if SECRET.search(name)), None):
        raise PydanticCustomError(
            "url",
            "must not hold a key ({secret}): put it into an environment variable, its name into key_env",
            {"secret": secret},
        )
    return url


def refusal(host: str) -> str | None:
    """Why nothing may be asked at a host, given as a name or in any notation of an address; None if it may. An address
    of this machine or network is the user's own affair; those at which clouds hand out credentials are nobody's."""
    name = host.strip("[]").rstrip(".").lower()
    if name in METADATA:
        return f"a cloud's metadata service ({host})"
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        try:
            address = ip_address(socket.inet_aton(name))  # 2852039166, 0xa9fea9fe, 0251.0376.0251.0376, ...
        except (OSError, UnicodeError):
            return None
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and (address in NAT64 or (int(address) >> 32 == 0 and int(address) > 1)):
            inner = ip_address(int(address) & 0xFFFFFFFF)
        address = inner or address
    if str(address) in METADATA:
        return f"a cloud's metadata service ({host})"
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return f"a link-local, multicast or unspecified address ({host})"
    return None


def check_resolved(url: str, place: str) -> None:
    """Raises ConfigError if the host's name stands for an address that `refusal` names. A name that can't be resolved
    now is left to the connection, which will say so."""
    host = httpx.URL(url).host
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, address in found:
        if (why := refusal(str(address[0]))) is not None:
            raise ConfigError(f"{place}: {host} stands for {why}; give another host")


def _bare(url: str) -> str:
    parsed = httpx.URL(url)
    if parsed.query or parsed.fragment:
        raise PydanticCustomError(
            "url",
            "must end before any ? or #: paths are added to it; put a key into an environment variable, its name into "
            "key_env",
        )
    if parsed.path.rstrip("/").endswith("/completions"):
        raise PydanticCustomError("url", "must leave out /chat/completions (and /completions): it is added to it")
    return url


Url = Annotated[str, AfterValidator(_usable)]
"""http or https, without a user or password in it."""
BaseUrl = Annotated[Url, AfterValidator(_bare)]
"""One that paths are added to: it has no query, in which a key could stand."""
