"""What may stand in the address of a Redis: wrong words are refused when the model is built, secrets are never told."""

from __future__ import annotations

import pytest

from surefoot import ChatModel, Policy, Target
from surefoot.errors import Misconfigured
from surefoot.storage import open_store
from surefoot.storage.redis_address import read_address
from surefoot.testing import Scripted
from surefoot.usage.redis_accounts import RedisSpendStore


@pytest.mark.parametrize(
    ("url", "given", "name"),
    [
        ("redis://h:1/0", "redis://h:1/0", "Redis at h"),
        ("redis://u:p%40ss@h/2?socket_timeout=3&prefix=a:", "redis://u:p%40ss@h/2?socket_timeout=3", "Redis at h"),
        ("rediss://h?ssl_ca_certs=/a/b.pem", "rediss://h?ssl_ca_certs=%2Fa%2Fb.pem", "Redis at h"),
        ("unix:///run/redis.sock?db=3&prefix=x", "unix:///run/redis.sock?db=3", "Redis at /run/redis.sock"),
        ("redis+sentinel://s1:1,s2/main/3?prefix=x", "redis://s1/3", "Redis main by Sentinel at s1, s2"),
        ("rediss+sentinel://:pw@s1/main", "rediss://:pw@s1", "Redis main by Sentinel at s1"),
    ],
)
def test_each_form_is_read(url, given, name):
    """Ours is taken out, the rest is for redis-py."""
    address = read_address(url)
    assert (address.url, address.name) == (given, name)


def test_sentinels_have_ports_and_a_login_of_their_own():
    """The user before the hosts is the server's, not theirs."""
    address = read_address("redis+sentinel://u:p@s1:1,s2/main/3?sentinel_username=w&sentinel_password=q")
    assert address.sentinels == (("s1", 1), ("s2", 26379))
    assert (address.service, address.url) == ("main", "redis://u:p@s1/3")
    assert address.sentinel_options == {"username": "w", "password": "q"}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://h:1/0?prefx=a", r"unknown option 'prefx': did you mean 'prefix'"),
        ("redis://h:1/0?decode_responses=true", r"unknown option 'decode_responses'"),
        ("redis://h:1/0?max_connections=3", r"unknown option 'max_connections'"),
        ("redis://h:1/0?ssl_ca_certs=x", r"write rediss://"),
        ("redis://h:1/0?prefix=", r"prefix that is empty"),
        ("redis://h:1/0?prefix={x}", r"braces"),
        ("redis://h:1/0?eviction=yes", r"write eviction=accept"),
        ("redis://h:1/0?sentinel_password=CANARY", r"names no Sentinel"),
        ("redis://h:1/main", r"database 'main': write a number"),
        ("redis://:CANARY@h:port/0", r"cannot be read"),
        ("redis://:CANARY@h:1/0?socket_timeout=soon", r"socket_timeout"),
        ("redis+sentinel://:CANARY@s1:1", r"SERVICE"),
        ("redis+sentinel://:CANARY@s1:one/main", r"HOST:PORT"),
        ("http://:CANARY@h", r"redis://"),
    ],
)
def test_a_wrong_address_is_refused_with_the_remedy(url, said):
    """When the model is built, and with no password in the message."""
    with pytest.raises(Misconfigured, match=said) as caught:
        read_address(url)
    assert "CANARY" not in str(caught.value)


def test_no_form_of_a_password_is_told():
    """As written, as sent, and quoted otherwise."""
    address = read_address("redis://u:p%40s%2Fs@h/0")
    assert address.mask("p@s/s, p%40s%2Fs, p%40s/s") == "***, ***, p%40s/s"
    address = read_address("redis://h/0?password=s3cret")
    assert address.mask("no s3cret") == "no ***"


def test_both_places_take_the_prefix_of_the_address():
    """Services, or staging and production, share a server and neither answers nor money."""
    assert open_store("redis://h:1/0").prefix == "surefoot:"
    assert open_store("redis://h:1/0?prefix=billing:").prefix == "billing:"
    assert RedisSpendStore("redis://h:1/0?prefix=billing:")._prefix == "billing:budget:"
    assert RedisSpendStore("redis://h:1/0")._prefix == "surefoot:budget:"


@pytest.mark.parametrize("url", ["redis://h:1/0?prefx=a", "redis+sentinel://h:1"])
def test_models_refuse_it_when_they_are_built(url):
    """Not at the first call."""
    with pytest.raises(Misconfigured):
        ChatModel(Scripted("x"), cache=url)
    with pytest.raises(Misconfigured):
        ChatModel(
            Target("openai:m", api_key="k", input_usd_per_mtok=1, output_usd_per_mtok=1), policy=Policy(budget_usd=1, budget_store=url)
        )
