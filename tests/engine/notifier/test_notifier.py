"""A notification wakes an idle worker at once. A Redis that is slow, silent, gone or full of other data costs little time."""

import os
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from redis import Redis

from jobqueue.notifier import circuit_breaker
from jobqueue.notifier.notifier import MAX_KEPT, WAIT_SLICE, Heard, RedisNotifier
from tests.engine.consumers import wait_until
from tests.proxy import Proxy
from tests.servers import redis_client

NOTIFY = 0.25  # seconds that `notify` may take
MARGIN = 0.75  # seconds for a busy machine


@pytest.fixture
def client(fresh_valkey: str) -> Iterator["Redis"]:
    with redis_client(fresh_valkey) as client:
        yield client


@pytest.fixture
def notifier(fresh_valkey: str) -> Iterator[RedisNotifier]:
    notifier = RedisNotifier(fresh_valkey, "tests")
    yield notifier
    notifier.close()


@pytest.fixture
def proxy(fresh_valkey: str) -> Iterator[Proxy]:
    with Proxy(urlsplit(fresh_valkey).port or 0) as proxy:
        yield proxy


def through(proxy: Proxy, url: str, scheme: str = "redis") -> RedisNotifier:
    address = urlsplit(url)
    return RedisNotifier(
        address._replace(scheme=scheme, netloc=f":{address.password}@127.0.0.1:{proxy.port}").geturl(), "tests"
    )


def seconds_of(notifier: RedisNotifier) -> float:
    begun = time.monotonic()
    notifier.notify(["default"])
    return time.monotonic() - begun


def test_a_notification_wakes_a_waiting_worker(notifier: RedisNotifier, fresh_valkey: str) -> None:
    woken = []
    other = RedisNotifier(fresh_valkey, "tests")

    def wait() -> None:
        other.wait(10)
        woken.append(time.monotonic())
        other.close()

    waiting = threading.Thread(target=wait)
    waiting.start()
    with redis_client(fresh_valkey) as client:
        wait_until(lambda: client.info("clients")["blocked_clients"])
    notified = time.monotonic()
    notifier.notify(["default"])
    waiting.join(10)
    assert woken[0] - notified < MARGIN


def test_a_notification_before_the_wait_wakes_once(notifier: RedisNotifier) -> None:
    notifier.notify(["default"])
    begun = time.monotonic()
    notifier.wait(10)
    assert time.monotonic() - begun < MARGIN
    notifier.wait(0.3)
    assert time.monotonic() - begun > 0.3


def test_unread_notifications_do_not_pile_up(notifier: RedisNotifier, client: "Redis") -> None:
    for _ in range(3):
        notifier.notify(["default"] * 10_000)
    assert len(keys := client.keys()) == 2
    for key in keys:
        assert client.lrange(key, 0, -1) == [b""] * MAX_KEPT  # a notification carries no data


def test_two_apps_on_one_redis_do_not_wake_each_other(notifier: RedisNotifier, fresh_valkey: str) -> None:
    RedisNotifier(fresh_valkey, "another").notify(["default"])
    begun = time.monotonic()
    notifier.wait(0.3)
    assert time.monotonic() - begun >= 0.3


@pytest.mark.parametrize("queues, heard", [(None, Heard.ALONE), (["a", "heavy"], Heard.ALONE), (["a"], Heard.NOTHING)])
def test_a_worker_is_woken_for_its_own_queues_only(
    notifier: RedisNotifier, queues: list[str] | None, heard: Heard
) -> None:
    notifier.notify(["heavy"])
    assert notifier.wait(0.3, queues=queues) is heard


def test_a_waiting_worker_stops_when_its_stop_flag_is_set(notifier: RedisNotifier) -> None:
    stop = threading.Event()
    threading.Timer(0.1, stop.set).start()
    begun = time.monotonic()
    notifier.wait(10, stop.wait)
    assert time.monotonic() - begun < 0.1 + WAIT_SLICE + MARGIN


@pytest.mark.parametrize("how", ["cut", "refuse"])
def test_a_failing_redis_delays_one_call_and_is_then_skipped_for_a_while(
    proxy: Proxy, fresh_valkey: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "OPEN_FOR", 1.0)
    notifier = through(proxy, fresh_valkey)
    assert seconds_of(notifier) < NOTIFY
    getattr(proxy, how)()
    assert seconds_of(notifier) < NOTIFY + MARGIN
    assert sum(seconds_of(notifier) for _ in range(100)) < NOTIFY  # the circuit is open
    proxy.join()
    with redis_client(fresh_valkey) as client:
        wait_until(lambda: notifier.notify(["default"]) or client.llen("jobqueue:tests:bell") > 1)  # type: ignore[func-returns-value]
    notifier.close()


@pytest.mark.parametrize("how", ["cut", "refuse"])
def test_a_wait_on_a_failing_redis_ends_in_time(proxy: Proxy, fresh_valkey: str, how: str) -> None:
    notifier = through(proxy, fresh_valkey)
    notifier.wait(0.1)
    getattr(proxy, how)()
    begun = time.monotonic()
    notifier.wait(1)
    assert 0.9 < time.monotonic() - begun < 1 + WAIT_SLICE + NOTIFY + MARGIN
    notifier.close()


def test_a_redis_key_of_another_type_breaks_nothing(notifier: RedisNotifier, client: "Redis") -> None:
    client.set("jobqueue:tests:bell", b"\x80not yours")
    notifier.notify(["default"])
    begun = time.monotonic()
    notifier.wait(0.3)
    assert time.monotonic() - begun >= 0.3
    assert notifier.check() == ""


@pytest.mark.parametrize("option", ["", "?ssl_cert_reqs=none", "?ssl_cert_reqs=CERT_NONE"])
def test_a_self_signed_certificate_of_redis_is_accepted(fresh_valkey: str, option: str) -> None:
    with Proxy(urlsplit(fresh_valkey).port or 0, tls="redis") as proxy:
        notifier = through(proxy, f"{fresh_valkey}{option}", "rediss")
        assert notifier.check() == ""
        notifier.notify(["default"])
        begun = time.monotonic()
        notifier.wait(10)
        assert time.monotonic() - begun < MARGIN
        notifier.close()


def test_a_wrong_redis_password_is_reported(fresh_valkey: str) -> None:
    notifier = RedisNotifier(
        urlsplit(fresh_valkey)._replace(netloc=f":wrong@{fresh_valkey.rpartition('@')[2].split('/')[0]}").geturl(), "t"
    )
    assert str(notifier.check()).startswith("does not answer: ")
    notifier.close()


def test_a_forked_process_opens_its_own_redis_connection(notifier: RedisNotifier, client: "Redis") -> None:
    def connections() -> set[str]:
        """Return the connections to this test's key space. Other tests use the same server."""
        mine = client.client_info()["db"]
        return {entry["id"] for entry in client.client_list() if entry["db"] == str(mine)}

    notifier.notify(["default"])
    assert (before := connections())
    child = os.fork()
    if child == 0:
        notifier.notify(["default"])
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    notifier.notify(["default"])
    assert client.llen("jobqueue:tests:bell") == 3
    wait_until(lambda: connections() == before)  # the server closes the child's connection a moment later
