"""dimr-api: the composition root of the API process."""

import argparse
import asyncio
import logging
import math
import signal
import socket
import sys
from types import FrameType

import uvicorn
from prometheus_client import CollectorRegistry

from service.api.app import create_app
from service.errors import ServiceError, SettingsInvalid
from service.logs import configure
from service.queue.connection import connect, ping
from service.settings import Settings, load_settings

logger = logging.getLogger(__name__)

LAST_ANSWERS_S = 3  # beyond the drain, for what is answered at its end

_DESCRIPTION = """\
Serve HTTP on DIMR_HOST:DIMR_PORT and queue jobs in the Redis of DIMR_REDIS_URL, where workers
(dimr-worker) find them. Any number of these may run side by side; none holds a model.
For everything on one machine, run dimr-serve instead."""

_EPILOG = """\
environment (the README lists all of it):
  DIMR_REDIS_URL          redis://, rediss:// or unix:// address; required
  DIMR_HOST, DIMR_PORT    where to listen; 127.0.0.1 and 8000
  DIMR_QUEUE_LIMIT        queued jobs per model before callers get 429
  DIMR_REQUEST_TIMEOUT_S  longest wait of a synchronous request
  DIMR_DRAIN_S            how long requests in progress get after SIGTERM
  DIMR_LOG_LEVEL          DEBUG, INFO, WARNING or ERROR

example:
  DIMR_REDIS_URL=redis://127.0.0.1:6379 DIMR_PORT=8080 dimr-api

exit status: 0 after a stop by SIGTERM or SIGINT; 2 when a setting cannot be used, the address
is taken, or Redis cannot be reached at the start."""


def main() -> int:
    """Entry point; returns the exit status."""
    argparse.ArgumentParser(
        prog="dimr-api",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    try:
        settings = load_settings()
        configure(settings.log_level)
        asyncio.run(_serve(settings, settings.given_redis_url()))
    except (ServiceError, OSError) as error:
        print(f"dimr-api: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, redis_url: str) -> None:
    """Serve until a signal asks to stop, then finish the requests in progress."""
    redis = connect(redis_url)
    try:
        await ping(redis)
        with _listen(settings.host, settings.port) as listener:
            # uvicorn answers the first signal by draining and raises it again when it is done;
            # by then there is nothing left that the signal should end.
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: None)
            app = create_app(redis, CollectorRegistry(), settings)
            config = uvicorn.Config(
                app,
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                lifespan="on",
                timeout_graceful_shutdown=math.ceil(settings.drain_s) + LAST_ANSWERS_S,
            )
            logger.info("api started", extra={"host": settings.host, "port": settings.port})
            await _Server(config, app.state.backend.stopping, settings.drain_s).serve([listener])
            logger.info("api stopped")
    finally:
        await redis.aclose()


class _Server(uvicorn.Server):
    """Tells waiting requests, once the drain is over, that they must answer now."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, drain_s: float) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._drain_s = drain_s
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown; runs as a signal handler."""
        super().handle_exit(sig, frame)
        self._loop.call_soon_threadsafe(self._loop.call_later, self._drain_s, self._stopping.set)


def _listen(host: str, port: int) -> socket.socket:
    """Bind early, so that a taken port is one clear line and no half-started server."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        msg = f"DIMR_HOST, DIMR_PORT: cannot listen on {host} port {port}: {reason}"
        raise SettingsInvalid(msg) from error


if __name__ == "__main__":
    sys.exit(main())
