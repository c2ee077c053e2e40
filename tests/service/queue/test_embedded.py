import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from service.errors import EmbeddedRedisFailed
from service.queue.embedded import EmbeddedRedis

PARENT = """
import sys, time
from pathlib import Path
from service.queue.embedded import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


def _answers(url: str) -> bool:
    with Redis.from_url(url) as redis:
        try:
            return bool(redis.ping())
        except RedisConnectionError:
            return False


def test_the_server_persists_every_write_and_never_evicts(redis_server: EmbeddedRedis) -> None:
    with Redis.from_url(redis_server.url) as redis:
        wanted = {"appendonly": "yes", "appendfsync": "everysec", "maxmemory-policy": "noeviction"}

        assert {name: redis.config_get(name)[name] for name in wanted} == wanted


def test_only_this_user_reaches_the_server_and_no_port_is_open(
    redis_server: EmbeddedRedis,
) -> None:
    address = Path(redis_server.url.removeprefix("unix://"))
    with Redis.from_url(redis_server.url) as redis:
        assert redis.config_get("port") == {"port": "0"}

    assert stat.S_IMODE(address.parent.stat().st_mode) == 0o700


def test_a_long_or_odd_data_folder_is_no_problem(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / ("long " * 20) / "ünïcode") as server:
        assert _answers(server.url)


def test_data_is_there_again_after_a_restart(tmp_path: Path) -> None:
    for count in (1, 2, 3):
        with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as redis:
            assert redis.incr("starts") == count


def test_the_server_ends_with_its_context_and_leaves_only_its_data(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pid, socket_folder = server.pid, Path(server.url.removeprefix("unix://")).parent

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not socket_folder.exists()
    assert {path.name for path in (tmp_path / "redis").iterdir()} == {
        "appendonly.aof",
        "lock",
        "redis.log",
    }


def test_stopping_twice_does_nothing(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    server.start()
    server.stop()
    server.stop()


def test_a_second_server_on_one_folder_is_refused_and_the_first_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.queue.embedded.LOCK_WAIT_S", 0.0)
    with EmbeddedRedis(tmp_path) as first:
        with pytest.raises(EmbeddedRedisFailed, match=f"in use by process {os.getpid()}"):
            EmbeddedRedis(tmp_path).start()

        assert _answers(first.url)


def test_a_broken_file_is_reported_in_the_words_of_the_server(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    (tmp_path / "redis" / "appendonly.aof").write_text("not a Redis file\n")

    with pytest.raises(EmbeddedRedisFailed, match=r"ended with status 1.*Bad file format"):
        EmbeddedRedis(tmp_path).start()


def test_a_server_that_is_not_ready_in_time_is_given_up(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisFailed, match="not ready within 0 s"):
        EmbeddedRedis(tmp_path, startup_s=0.0).start()


def test_without_the_wheel_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(EmbeddedRedisFailed, match="DIMR_REDIS_URL"):
        EmbeddedRedis(tmp_path).start()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_the_folder_is_free_again_after_the_parent_was_killed(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid, url = parent.stdout.readline().split()
    assert _answers(url)

    parent.kill()
    parent.communicate()
    began = time.monotonic()
    with EmbeddedRedis(tmp_path) as heir:
        assert heir.pid != int(pid)
        assert not _answers(url)
    assert time.monotonic() - began < 3.0


def test_an_interrupt_from_the_terminal_does_not_reach_the_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert os.getpgid(server.pid) != os.getpgid(0)
        assert os.getsid(server.pid) != os.getsid(0)


def test_a_killed_server_is_revived_at_its_address_with_its_data(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        assert not server.revive()
        with Redis.from_url(url) as redis:
            redis.set("kept", "yes")
            redis.config_set("appendfsync", "always")
            redis.set("kept", "surely")
        os.kill(server.pid, signal.SIGKILL)
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)

        assert server.revive()

        assert server.url == url
        with Redis.from_url(url) as redis:
            assert redis.get("kept") == b"surely"
