import pytest
from pydantic import ValidationError

from rlsys.config.judge import EndpointConfig


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/x", "must be http://"),
        ("host:80/v1", "must be http://"),
        ("http://host:port", "not a URL"),
        ("https://me:s3cret@host", "must not hold a user or password"),
        ("https://host/v1?api_key=s3cret", "must end before any ? or #"),
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
