import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import Metrics, forget_process, render

NAMES = {
    "dimr_requests": {"model", "outcome"},
    "dimr_queue_depth": {"model", "priority"},
    "dimr_backlog_steps": {"model"},
    "dimr_oldest_wait_seconds": {"model"},
    "dimr_inflight": {"model"},
    "dimr_queue_wait_seconds": {"model"},
    "dimr_e2e_seconds": {"model"},
    "dimr_tick_seconds": {"model", "bucket"},
    "dimr_stage_seconds": {"model", "stage"},
    "dimr_tick_batch_size": {"model"},
    "dimr_tick_rows": {"model"},
    "dimr_sample_steps": {"model"},
    "dimr_images": {"model"},
    "dimr_images_wasted": {"model", "reason"},
    "dimr_redeliveries": {"model"},
    "dimr_dead_letter": {"model"},
    "dimr_ready": set(),
    "dimr_engine_info": {"model", "backend", "precision", "device"},
}

CHILD = """
import os, sys
from prometheus_client import CollectorRegistry
from service.metrics import Metrics, render

registry = CollectorRegistry()
metrics = Metrics(registry)
exec(sys.argv[1])
"""


def _samples(text: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    return CollectorRegistry()


def test_the_metrics_are_those_that_dashboards_and_alerts_rely_on(registry) -> None:
    metrics = Metrics(registry)

    found = {
        family.name: set(metric._labelnames)
        for metric in vars(metrics).values()
        for family in metric.describe()
    }

    assert found == NAMES


def test_a_process_of_its_own_renders_its_own_metrics(registry) -> None:
    metrics = Metrics(registry)
    metrics.requests.labels("emoji", "ok").inc()
    metrics.tick_batch_size.labels("emoji").observe(3)

    samples = _samples(render(registry))

    assert samples["dimr_requests_total", frozenset({("model", "emoji"), ("outcome", "ok")})] == 1
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in samples.items()
        if name == "dimr_tick_batch_size_bucket"
    }
    assert list(buckets) == ["1.0", "2.0", "4.0", "8.0", "16.0", "32.0", "64.0", "+Inf"]
    assert (buckets["2.0"], buckets["4.0"]) == (0, 1)


def test_two_sets_of_metrics_do_not_meet(registry) -> None:
    Metrics(registry).images.labels("emoji").inc()
    other = CollectorRegistry()
    Metrics(other)

    assert ("dimr_images_total", frozenset({("model", "emoji")})) not in _samples(render(other))


def _child(folder: Path, code: str) -> tuple[int, bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, code],
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdout=subprocess.PIPE,
    )
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    return process.pid, out


def test_processes_that_share_a_folder_are_rendered_by_any_of_them(tmp_path: Path) -> None:
    worker, _ = _child(
        tmp_path,
        "metrics.images.labels('emoji').inc(2)\n"
        "metrics.stage_seconds.labels('emoji', 'decode').observe(0.002)\n"
        "metrics.engine_info.labels('emoji', 'torch', 'fp32', 'cpu').set(1)\n"
        "metrics.inflight.labels('emoji').set(7)",
    )
    _, text = _child(
        tmp_path,
        "metrics.images.labels('emoji').inc()\n"
        "metrics.inflight.labels('emoji').set(4)\n"
        "metrics.ready.set(1)\n"
        "sys.stdout.buffer.write(render(registry))",
    )
    emoji = ("model", "emoji")

    samples = _samples(text)

    assert samples["dimr_images_total", frozenset({emoji})] == 3
    assert samples["dimr_inflight", frozenset({emoji})] == 4
    assert samples["dimr_ready", frozenset()] == 1
    decode = frozenset({emoji, ("stage", "decode")})
    assert samples["dimr_stage_seconds_count", decode] == 1
    assert any(name == "dimr_engine_info" for name, _ in samples)

    forget_process(tmp_path, worker)
    _, text = _child(tmp_path, "sys.stdout.buffer.write(render(registry))")

    assert not any(name == "dimr_engine_info" for name, _ in _samples(text))
    assert _samples(text)["dimr_images_total", frozenset({emoji})] == 3
