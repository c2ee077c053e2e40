"""What the service counts and measures, for Prometheus.

Labels come from closed sets: never a job, a prompt or a tenant. In the one-machine mode the
processes share their values through a folder (`PROMETHEUS_MULTIPROC_DIR`, set by `dimr-serve`
before they start), so that any of them can render all.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own name for it

WAIT_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0),
)
E2E_BUCKETS = (
    *(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0),
    *(5.0, 8.0, 13.0, 20.0, 30.0, 60.0, 120.0),
)
TICK_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1),
    *(0.25, 0.5, 1.0, 2.5),  # a CPU
)
SLOT_BUCKETS = (1, 2, 4, 8, 16, 32, 64)
ROW_BUCKETS = (*SLOT_BUCKETS, 128)  # guidance takes two rows a slot


class Metrics:
    """Every metric of the service, registered in the registry given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def fact(name: str, text: str, *labels: str) -> Gauge:
            """A gauge that means the same in every process that sets it: the last one counts."""
            return Gauge(name, text, labels, registry=registry, multiprocess_mode="mostrecent")

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(name, text, labels, registry=registry, buckets=buckets)

        self.queue_depth = fact("dimr_queue_depth", "Queued jobs.", "model", "priority")
        self.backlog_steps = fact(
            "dimr_backlog_steps", "Sample-steps of queued jobs: what to scale workers on.", "model"
        )
        self.oldest_wait_seconds = fact(
            "dimr_oldest_wait_seconds", "How long the oldest queued job has waited.", "model"
        )
        self.inflight = fact("dimr_inflight", "Running jobs.", "model")
        self.ready = fact("dimr_ready", "1 when requests can be served, else 0.")
        self.engine_info = Gauge(
            "dimr_engine_info",
            "1 for each engine that a live worker runs.",
            ("model", "backend", "precision", "device"),
            registry=registry,
            multiprocess_mode="livemax",
        )

        self.requests = counter(
            "dimr_requests_total",
            "Requests by outcome: ok, cancelled, expired, failed, rejected_full or invalid.",
            *("model", "outcome"),
        )
        self.sample_steps = counter("dimr_sample_steps_total", "Network rows computed.", "model")
        self.images = counter("dimr_images_total", "Images delivered.", "model")
        self.images_wasted = counter(
            "dimr_images_wasted_total", "Images begun and thrown away.", "model", "reason"
        )
        self.redeliveries = counter(
            "dimr_redeliveries_total", "Jobs taken back from a worker that went silent.", "model"
        )
        self.dead_letter = counter("dimr_dead_letter_total", "Jobs given up on.", "model")

        self.queue_wait_seconds = histogram(
            "dimr_queue_wait_seconds", "From submission to claim.", WAIT_BUCKETS, "model"
        )
        self.e2e_seconds = histogram(
            "dimr_e2e_seconds", "From submission to the last image.", E2E_BUCKETS, "model"
        )
        self.tick_seconds = histogram(
            "dimr_tick_seconds",
            "One network call for all slots, by rows rounded up.",
            TICK_BUCKETS,
            *("model", "bucket"),
        )
        self.stage_seconds = histogram(
            "dimr_stage_seconds",
            "Stages of an image: admit, denoise (a tick), preview, decode, encode or store.",
            TICK_BUCKETS,
            *("model", "stage"),
        )
        self.tick_batch_size = histogram(
            "dimr_tick_batch_size", "Slots stepped by a tick.", SLOT_BUCKETS, "model"
        )
        self.tick_rows = histogram(
            "dimr_tick_rows", "Network rows of a tick.", ROW_BUCKETS, "model"
        )


def render(registry: CollectorRegistry) -> bytes:
    """Return all metrics in the Prometheus text format.

    Those of every process that shares a folder with this one, else those of `registry` alone.
    """
    if SHARED_FOLDER not in os.environ:
        return generate_latest(registry)
    shared = CollectorRegistry()
    multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return generate_latest(shared)


def forget_process(folder: Path, pid: int) -> None:
    """Drop what a dead process said about its present state; what it counted stays."""
    multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
