"""Networks that are traced within seconds, and bundles of them."""

import copy

import pytest
import torch

from export.compilers.options import Silence
from export.parity.cases import Case, cases_of
from export.parity.networks import CallError
from export.parity.reference import reference_of
from export.parity.report import ImageError, ParityReport
from model.bundle import load_bundle, write_bundle
from model.denoisers.build import build_denoiser
from model.specs.manifest import Parity
from model.specs.process import SamplingDefaults
from model.specs.recipe import Recipe


@pytest.fixture(scope="session")
def recipe():
    return Recipe.model_validate(
        {
            "id": "tiny",
            "description": "for tests",
            "licence": "Apache-2.0",
            "data": {"kind": "emoji", "concepts": ["a", "b", "c"], "size": 16},
            "training": {"steps": 1, "batch": 1, "optimiser": {"rate": 1e-3}},
            "network": {
                "kind": "uvit",
                "size": 8,
                "channels": 12,
                "classes": 3,
                "dim": 24,
                "heads": 3,
                "patch": 2,
                "blocks": 1,
            },
            "process": {
                "codec": {"kind": "pixels", "factor": 2},
                "schedule": {"kind": "cosine"},
                "prediction": "velocity",
                "t_min": 0.01,
                "t_max": 0.99,
            },
            "sampling": {"sampler": "ddim", "grid": "time", "steps": 3, "guidance": 2.0},
        }
    )


@pytest.fixture(scope="session")
def network(recipe):
    """With no parameter at the value that it starts from."""
    torch.manual_seed(0)
    network = build_denoiser(recipe.network).eval().requires_grad_(requires_grad=False)
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return network


@pytest.fixture(scope="session")
def bundle(recipe, network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "tiny"
    return load_bundle(write_bundle(folder, recipe, network, "abc", steps=1))


@pytest.fixture(scope="session")
def cases(bundle):
    return cases_of(bundle.manifest, 3)


@pytest.fixture(scope="session")
def reference(bundle, cases):
    return reference_of(bundle, cases, bundle.manifest.sampling, Silence())


@pytest.fixture
def encoder(t5_encoder):
    """One that a test may change."""
    return copy.deepcopy(t5_encoder)


@pytest.fixture
def report():
    """Of three images, of which the second is the worst."""
    cases = (Case(0, 0, 16), Case(3, 1, 16), Case("a cat", 2, 32))
    return ParityReport(
        bundle_id="tiny",
        threshold=Parity(),
        engine="graph",
        did="the graph",
        library="onnxruntime 1",
        precision="float16",
        sampling=SamplingDefaults(),
        images=[ImageError(case, db) for case, db in zip(cases, (60.0, 45.0, 50.0), strict=True)],
        calls=[CallError(0.5, guided=True, worst=case, error=1e-3) for case in cases],
        layers={},
        islands={},
        decoder=(),
        text=None,
    )
