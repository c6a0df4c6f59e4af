import socket

import pytest
from pydantic import ValidationError

from rlsys.config.judge import EndpointConfig
from rlsys.errors import ConfigError
from rlsys.rewards import http


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "must be http://"),
        ("host:80/v1", "must be http://"),
        ("http://host:port", "not a URL"),
        ("https://me:s3cret@host", "must not hold a user or password"),
        ("https://host/v1?api_key=s3cret", "must not hold a key (api_key)"),
        ("https://host/v1#s3cret", "must end before any ? or #"),
        ("https://host/v1/chat/completions", "must leave out /chat/completions"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str):
    with pytest.raises(ValidationError) as caught:
        EndpointConfig(base_url=url)
    [error] = caught.value.errors()
    assert error["loc"] == ("base_url",)
    assert error["msg"].startswith(message)
    assert "s3cret" not in error["msg"]


def test_an_address_is_kept_as_it_was_given():
    assert EndpointConfig(base_url="HTTP://127.0.0.1:8000/v1/").base_url == "HTTP://127.0.0.1:8000/v1/"


HOSTILE = [
    "http://169.254.169.254/latest/meta-data",
    "http://169.254.1.1",
    "http://2852039166/latest",
    "http://0xa9fea9fe",
    "http://0xA9.0xFE.0xA9.0xFE",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://169.16689662",
    "http://[::ffff:169.254.169.254]",
    "http://[::ffff:a9fe:a9fe]",
    "http://[64:ff9b::169.254.169.254]",
    "http://[2002:a9fe:a9fe::1]",
    "http://[::169.254.169.254]",
    "http://[fe80::1]",
    "http://[fd00:ec2::254]/latest",
    "http://[fd00:0ec2:0:0:0:0:0:254]",
    "http://metadata.google.internal/computeMetadata/v1",
    "http://METADATA.GOOGLE.INTERNAL.",
    "http://metadata/",
    "http://instance-data/latest",
    "http://100.100.100.200/latest",
    "http://192.0.0.192/opc",
    "http://168.63.129.16",
    "http://169.254.170.2/v2/credentials",
    "http://0.0.0.0:8000",
    "http://0/",
    "http://[::]:8000",
    "http://224.0.0.1",
    "http://[ff02::1]",
    "file:///etc/passwd",
    "gopher://host/",
    "http://me:s3cret@host/score",
    "http://s3cret@host/score",
    "http://host/score?api_key=s3cret",
    "http://host/score?access_token=s3cret",
    "http://host/score?X-Amz-Signature=s3cret",
]


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_addresses_are_refused(url: str):
    assert len(HOSTILE) >= 30
    with pytest.raises(ValidationError) as caught:
        http.Config(url=url)
    [error] = caught.value.errors()
    assert error["msg"].startswith(("must ", "not a URL"))
    assert "s3cret" not in error["msg"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/score",
        "http://localhost/score",
        "http://[::1]:8000",
        "http://10.1.2.3",
        "http://192.168.0.1",
        "https://scores.example.com/v1?version=2",
    ],
)
def test_the_users_own_addresses_are_not(url: str):
    assert http.Config(url=url).url == url


def test_a_name_that_stands_for_a_metadata_address_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 0))]
    )
    with pytest.raises(ConfigError, match=r"args\.url: harmless\.example stands for a cloud's metadata service"):
        http.Reward(http.Config(url="http://harmless.example/score"))
