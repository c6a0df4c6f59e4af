"""Who can reach the ports that a trainer opens."""

from __future__ import annotations

import psutil
import pytest

from actors.engines.deepspeed_setup import interface_of, open_store

pytestmark = [pytest.mark.engine, pytest.mark.slow]


def test_the_ranks_meeting_point_listens_at_their_address_and_nowhere_else():
    before = listening()
    store = open_store("127.0.0.1", 2, 10.0)
    assert listening() - before == {("127.0.0.1", store.port)}
    store.set("a", "b")
    assert store.get("a") == b"b"


def test_the_interface_of_an_address():
    assert interface_of("127.0.0.1") == "lo"
    assert interface_of("203.0.113.7") is None


def listening() -> set[tuple[str, int]]:
    own = psutil.Process().net_connections("tcp")
    return {(one.laddr.ip, one.laddr.port) for one in own if one.status == psutil.CONN_LISTEN}
