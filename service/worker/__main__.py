"""dimr-worker: the composition root of a worker, and the only importer of export.runtime."""

import argparse
import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from export.runtime.build import build_engines
from export.runtime.threads import limit_threads
from service.engine import Engine
from service.errors import EngineFault, ServiceError, SettingsInvalid
from service.logs import configure
from service.metrics import Metrics
from service.queue.connection import connect, ping
from service.queue.leases import Leases
from service.queue.registry import Registry
from service.queue.signals import Wakeups, cancellations
from service.settings import Settings, load_settings
from service.worker.loop import Ports, Worker

logger = logging.getLogger(__name__)


def main() -> int:
    """Entry point; returns the exit status."""
    argparse.ArgumentParser(
        prog="dimr-worker",
        description="Claim jobs from Redis and step them on one device. Configured by DIMR_* "
        "variables (the README lists them); DIMR_REDIS_URL is required. SIGTERM drains: held jobs "
        "are finished or given back, nothing is lost.",
        epilog="Example: DIMR_REDIS_URL=redis://127.0.0.1:6379/0 DIMR_BUNDLES=runs/emoji-32/bundle "
        "DIMR_WORKER_METRICS_PORT=9100 dimr-worker",
    ).parse_args()
    try:
        settings = load_settings()
        configure(settings.log_level)
        asyncio.run(_serve(settings, settings.given_redis_url()))
    except EngineFault as error:
        print(f"dimr-worker: engine fault: {error}", file=sys.stderr)
        return 1
    except (ServiceError, ValueError, OSError) as error:
        print(f"dimr-worker: {error}", file=sys.stderr)
        return 2
    return 0


async def _serve(settings: Settings, redis_url: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    if settings.worker_metrics_port:
        _serve_metrics(settings, registry)
    limit_threads(settings.threads)
    engines = _engines(settings.bundles, settings)
    worker_id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    redis = connect(redis_url)
    try:
        await ping(redis)
        async with Wakeups(redis) as wakeups:
            ports = Ports(
                leases=Leases(
                    redis,
                    worker_id,
                    lease_s=settings.lease_s,
                    max_attempts=settings.max_attempts,
                ),
                registry=Registry(redis),
                wakeups=wakeups,
                cancellations=lambda: cancellations(redis),
            )
            worker = Worker(worker_id, engines, ports, metrics, drain_s=settings.drain_s)
            logger.info("worker started", extra={"worker": worker_id, "models": list(engines)})
            await worker.run(stop)
    finally:
        await redis.aclose()


def _serve_metrics(settings: Settings, registry: CollectorRegistry) -> None:
    port = settings.worker_metrics_port
    try:
        start_http_server(port, addr=settings.host, registry=registry)
    except OSError as error:
        msg = f"DIMR_WORKER_METRICS_PORT: got {port}: {error.strerror}; allowed: a free port, or 0"
        raise SettingsInvalid(msg) from error


def _engines(folders: Sequence[Path], settings: Settings) -> dict[str, Engine]:
    """One engine a bundle, by model id."""
    engines: dict[str, Engine] = {}
    for model, engine in build_engines(
        folders,
        device=settings.device,
        capacity=settings.slots,
        engine=settings.engine,
        cache=settings.data_dir / "engines",
    ):
        engines[model] = engine
        logger.info("engine ready", extra={"model": model, "engine": engine.card["engine"]})
    if not engines:
        msg = "DIMR_BUNDLES: no bundle found; allowed: folders that hold a manifest.json"
        raise SettingsInvalid(msg)
    return engines


if __name__ == "__main__":
    sys.exit(main())
