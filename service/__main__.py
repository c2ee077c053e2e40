"""dimr-serve: Redis, a worker and the API on one machine, as children of this process."""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from service.errors import ServiceError
from service.lifetime import death_with_parent
from service.metrics import SHARED_FOLDER, forget_process
from service.queue.embedded import EmbeddedRedis
from service.settings import Settings, load_settings

RESTART_PAUSE_S = 1.0
MAX_RESTARTS = 5  # within a minute
PATIENCE_S = 30.0  # between two lines that say it is still starting
KILL_AFTER_S = 10.0  # beyond the drain
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy


def main() -> int:
    """Entry point; returns the exit status."""
    argparse.ArgumentParser(
        prog="dimr-serve",
        description="Serve images on this machine: an embedded Redis (unless DIMR_REDIS_URL names "
        "one), one worker, and the HTTP API on DIMR_HOST:DIMR_PORT. Ctrl-C or SIGTERM drains and "
        "stops everything; queued jobs and results survive in DIMR_DATA_DIR.",
    ).parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        settings = load_settings()
        if settings.redis_url is not None:
            return Household(settings, None, stop).keep()
        with EmbeddedRedis(settings.data_dir) as redis:
            return Household(settings, redis, stop).keep()
    except (ServiceError, OSError) as error:
        print(f"dimr-serve: {error}", file=sys.stderr)
        return 2


@dataclass(slots=True)
class Member:
    """A child process that is to be running."""

    module: str
    process: subprocess.Popen[bytes] | None = None
    starts: list[float] = field(default_factory=list)


class Household:
    """Starts worker and API, restarts what dies, and stops both in order."""

    def __init__(
        self, settings: Settings, redis: EmbeddedRedis | None, stop: threading.Event
    ) -> None:
        """Prepare; nothing starts before `keep`.

        Args:
            settings: what the children get through the environment.
            redis: the embedded server, None when the settings name another.
            stop: set when all is to end.
        """
        self._settings = settings
        self._redis = redis
        self._stop = stop
        self._url = f"http://{settings.host}:{settings.port}"
        self._metrics_dir = settings.data_dir.absolute() / "metrics"
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        self._metrics_dir.mkdir(parents=True)
        self._environment = {**os.environ, SHARED_FOLDER: str(self._metrics_dir)}
        if redis is not None:
            self._environment["DIMR_REDIS_URL"] = redis.url
        self._worker = Member("service.worker")
        self._api = Member("service.api")

    def keep(self) -> int:
        """Run until asked to stop; the exit status says whether that went well."""
        members = (self._worker, self._api)
        announced = False
        said = time.monotonic()
        try:
            while not self._stop.is_set():
                if self._redis is not None and self._redis.revive():
                    print("dimr-serve: redis had died and was started again", file=sys.stderr)
                for member in members:
                    status = self._revive(member)
                    if status is not None:
                        return status
                if not announced and self._ready():
                    announced = True
                    print(
                        f"dimr-serve: ready on {self._url} (open it in a browser to try it)",
                        flush=True,
                    )
                elif not announced and time.monotonic() - said > PATIENCE_S:
                    said = time.monotonic()
                    print("dimr-serve: still starting: the worker measures its models", flush=True)
                self._stop.wait(0.5)
            print("dimr-serve: stopping; running jobs get to finish", flush=True)
            return 0
        finally:
            self._stop_all()

    def _revive(self, member: Member) -> int | None:
        """Start a child that is not running; an exit status when that is hopeless."""
        if member.process is not None:
            status = member.process.poll()
            if status is None:
                return None
            forget_process(self._metrics_dir, member.process.pid)
            print(f"dimr-serve: {member.module} ended with status {status}", file=sys.stderr)
            recent = [start for start in member.starts if time.monotonic() - start < 60]
            if status == 2 or len(recent) >= MAX_RESTARTS:  # 2: it said what is wrong and gave up
                return status if status > 0 else 1
            self._stop.wait(RESTART_PAUSE_S)
        member.starts.append(time.monotonic())
        member.process = subprocess.Popen(
            [sys.executable, "-m", member.module],
            env=self._environment,
            start_new_session=True,  # Ctrl-C reaches this process only, which stops them in order
            preexec_fn=death_with_parent(signal.SIGKILL),  # a new one takes its jobs over
        )
        return None

    def _ready(self) -> bool:
        try:
            with DIRECT.open(f"{self._url}/health/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _stop_all(self) -> None:
        """Stop the API first, so that the worker still serves whoever waits for an answer."""
        for member in (self._api, self._worker):
            if member.process is None:
                continue
            member.process.terminate()
            try:
                member.process.wait(self._settings.drain_s + KILL_AFTER_S)
            except subprocess.TimeoutExpired:
                member.process.kill()
                member.process.wait()


if __name__ == "__main__":
    sys.exit(main())
