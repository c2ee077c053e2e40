"""The whole service as a user starts it: `dimr-serve` with the bundles that ship."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx
import pytest
import torch

from model.bundle import write_bundle
from model.denoisers.build import build_denoiser
from model.specs.recipe import Recipe
from model.specs.text import MiniLMSpec
from model.text.open import open_encoder
from model.text.prompts import Prompts

STARTUP_S = 90.0
LAYERED = {
    "id": "tiny-layered",
    "description": "for tests",
    "licence": "Apache-2.0",
    "data": {"kind": "captioned-emoji", "concepts": ["a", "b"], "size": 32},
    "network": {
        "kind": "layered",
        "scales": [8, 16, 32],
        "core": [{"width": 16, "blocks": 1}, {"width": 16, "blocks": 1, "attention": True}],
        "middle": 1,
        "outer": [{"width": 8, "blocks": 1}, {"width": 8, "blocks": 1}],
        "head_width": 8,
        "embedding": 16,
        "text": {"width": 384, "tokens": 6},
    },
    "process": {
        "codec": {"kind": "pixels"},
        "schedule": {"kind": "cosine"},
        "scales": {"reference": 8},
        "prediction": "velocity",
        "t_min": 0.01,
        "t_max": 0.99,
    },
    "text": {"kind": "minilm"},
    "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
    "sampling": {"steps": 10},
}


class Service:
    """A running `dimr-serve`, its address and its processes."""

    def __init__(self, process, url, log):
        self.process = process
        self.url = url
        self._log = log

    @property
    def log(self):
        return self._log.read_text()

    def children(self, module):
        """Process ids of the children that run a module, e.g. "service.worker"."""
        listing = subprocess.run(
            ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        return [int(line.split()[0]) for line in listing.splitlines() if module in line]

    def stop(self, number=signal.SIGTERM, timeout_s=60):
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(folder, **settings):
    """Start `dimr-serve` on a free port and wait until it is ready."""
    port = free_port()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DIMR_")}
    environment |= {
        "DIMR_PORT": str(port),
        "DIMR_DATA_DIR": str(folder / "data"),
        "DIMR_THREADS": "1",  # the tests beside it need the other core
        **settings,
    }
    log = folder / f"serve-{port}.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"], env=environment, stdout=sink, stderr=sink
        )
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        wait_until_ready(service)
        yield service
    finally:
        if process.poll() is None:
            service.stop()


def wait_until_ready(service):
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline:
        assert service.process.poll() is None, service.log
        try:
            if httpx.get(f"{service.url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(f"not ready within {STARTUP_S} s:\n{service.log}")


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """One service for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture
def start(tmp_path):
    """Start services of one's own over one data folder: `with start() as service`.

    They serve the class model alone, which is ready sooner.
    """

    def run(**settings):
        return running(tmp_path, DIMR_BUNDLES="deploy/models/emoji-32", **settings)

    return run


@pytest.fixture(scope="session")
def layered_bundle(tmp_path_factory):
    """Prompts to images of 8, 16 and 32 pixels by a network of noise: everything has effect."""
    recipe = Recipe.model_validate(LAYERED)
    network = build_denoiser(recipe.network)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.05)
    folder = tmp_path_factory.mktemp("bundles") / recipe.id
    prompts = Prompts(open_encoder(MiniLMSpec()), 6)
    return write_bundle(folder, recipe, network, (), steps=0, prompts=prompts)


@pytest.fixture(scope="module")
def both(tmp_path_factory, layered_bundle):
    """One service whose worker serves a DiMR and a layered model."""
    bundles = os.pathsep.join(["deploy/models/emoji-32", str(layered_bundle)])
    folder = tmp_path_factory.mktemp("both")
    with running(folder, DIMR_BUNDLES=bundles) as started:
        yield started
