"""A bundle's plans as a backend, rehearsed: PyTorch takes the place of the library and the GPU."""

import dataclasses
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

from export.graph.parts import parts_of
from export.runtime.bindings import ROWS, Binding, Profile
from export.runtime.engine import SlotEngine
from export.runtime.gpu import Gpu
from export.runtime.listed import Listed, listed
from export.runtime.plan import PlanFault
from export.runtime.planned import first_backend, fitting
from export.runtime.refusal import EngineRefused
from export.runtime.site import Site
from export.runtime.streams import ProgramOrder
from export.runtime.tensorrt import PlanRefused, PlanUnsupported
from model.bundle import DENOISER, put_bundle, put_files, read_manifest, write_manifest
from model.specs.manifest import EngineEntry

CPU = torch.device("cpu")
NAME: Literal["tensorrt-rtx"] = "tensorrt-rtx"
LIBRARY = "tensorrt_rtx 1.7.1.116"
COUNTS = (
    "plan_bytes",
    "td_norms",
    "td_norms_single_kernel",
    "attentions",
    "attentions_fused",
)
WEIGHTS = "f" * 64  # stands for the hash of those that the bundle has


def entry(**changes):
    values = {
        "part": "denoiser",
        "backend": NAME,
        "precision": "fp16",
        "arch": "sm80",
        "library": LIBRARY,
        "key": "0" * 64,
        "sources": {DENOISER: WEIGHTS},
        "batch_buckets": (1, 2, 4),
        "report": dict.fromkeys(COUNTS, 0),
    } | changes
    folder = f"{values['backend']}-{values['arch']}-{values['precision']}"
    return EngineEntry(file=f"engines/{folder}/{values['part']}.plan", **values)


def built(folder, **changes):
    return Listed(folder, {"denoiser": entry(**changes)}, ("denoiser",))


class Library:
    """Opens plans by their content, which names them: a plan that was put there, or an error."""

    def __init__(self, plans=(), library=LIBRARY, *, portable=True):
        self.plans = dict(plans)
        self.library = library
        self.portable = portable
        self.opened = []
        self.kept = 0

    def open(self, plan, _key):
        self.opened.append(plan.decode())
        found = self.plans[plan.decode()]
        if isinstance(found, Exception):
            raise found
        return found

    def keep(self):
        self.kept += 1


@pytest.fixture
def plant(tmp_path):
    """Puts engines into a copy of a bundle; each file names its architecture and its part."""

    def make(bundle, *entries, capacity=2):
        folder = put_bundle(
            tmp_path / "planted",
            bundle.manifest.model_copy(update={"files": {}}),
            bundle.labels,
            bundle.network.state_dict(),
            bundle.autoencoder,
            None if bundle.prompts is None else bundle.prompts.encoder,
        )
        weights = read_manifest(folder).files[DENOISER].sha256
        for each in entries:
            (folder / each.file).parent.mkdir(parents=True, exist_ok=True)
        files = {each.file: f"{each.arch} {each.part}".encode() for each in entries}
        manifest = put_files(folder, read_manifest(folder), files)
        listing = tuple(
            each.model_copy(update={"sources": {DENOISER: weights}})
            if each.sources[DENOISER] == WEIGHTS
            else each
            for each in entries
        )
        manifest = manifest.model_copy(update={"engines": listing})
        write_manifest(folder, manifest)
        return Site(folder, dataclasses.replace(bundle, manifest=manifest), CPU, capacity)

    return make


@pytest.fixture
def open_first(recorder):
    """The backend of the first build that runs on a GPU that is none."""

    def make(site, library, *, free_bytes=2**30):
        gpu = Gpu(CPU, "sm90", lambda: free_bytes, ProgramOrder, type(recorder))
        names = [part.name for part in parts_of(site.bundle) if part.name.startswith("denoiser")]
        builds = listed(site, NAME, (NAME,), names)
        return first_backend(site, "asked for by name", NAME, builds, library, gpu)

    return make


@pytest.fixture
def part(tiny_bundle):
    return parts_of(tiny_bundle)[0]


class Wrong(nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *given):
        return tuple(answer * 1.1 for answer in self.module(*given))


def wrong(part):
    return dataclasses.replace(part, module=Wrong(part.module))


def test_plans_draw_what_pytorch_draws(tiny_bundle, part, plant, open_first, cpu_plan):
    plan = cpu_plan(part)
    site, library = plant(tiny_bundle, entry()), Library({"sm80 denoiser": plan})
    backend = open_first(site, library)
    assert len(plan.contexts) == 3  # every bucket's: what fails does so before the engine is taken
    engine = SlotEngine(site.bundle, backend, capacity=2)
    assert len(plan.contexts) == 3
    facts: Any = engine.card["engine"]
    assert (facts["backend"], facts["precision"], facts["library"]) == (NAME, "float16", LIBRARY)
    assert (facts["arch"], facts["captured"]) == ("sm80", True)
    assert library.kept == 1
    reference = SlotEngine(
        tiny_bundle,
        dataclasses.replace(backend, network=tiny_bundle.network),
        capacity=2,
    )
    images = []
    for drawing in (engine, reference):
        drawing.admit(0, condition=1, seed=3, steps=4, sampler="ddim", guidance=2.0, size=16)
        while not drawing.step([0]):
            pass
        images.append(drawing.take(0).astype(int))
    assert np.abs(images[0] - images[1]).max() <= 1


def test_a_card_says_where_calls_are_not_captured(tiny_bundle, part, plant, open_first, cpu_plan):
    plan = cpu_plan(part, capturable=False)
    backend = open_first(plant(tiny_bundle, entry()), Library({"sm80 denoiser": plan}))
    assert backend.facts["captured"] is False


def test_every_part_of_a_layered_model_is_opened_and_compared(
    layered_bundle, plant, open_first, cpu_plan
):
    parts = parts_of(layered_bundle)
    site = plant(layered_bundle, *(entry(part=part.name) for part in parts))
    plans = {f"sm80 {part.name}": cpu_plan(part) for part in parts}
    assert open_first(site, Library(plans)).facts["captured"] is True
    plans["sm80 denoiser-1"] = cpu_plan(wrong(parts[0]))
    expected = (
        r"in .*tensorrt-rtx-sm80-fp16 predict something else than PyTorch: denoiser-1 of 4 rows; "
        r"run: dimr-export verify .* --engine tensorrt-rtx$"
    )
    with pytest.raises(EngineRefused, match=expected):
        open_first(site, Library(plans))


def test_the_plan_for_this_very_gpu_goes_first(tiny_bundle, part, plant, open_first, cpu_plan):
    site = plant(tiny_bundle, entry(arch="sm80"), entry(arch="sm90"), entry(arch="sm89"))
    library = Library({"sm90 denoiser": cpu_plan(part)})
    assert open_first(site, library).facts["arch"] == "sm90"
    assert library.opened == ["sm90 denoiser"]


def refused(_cpu_plan, _part):
    return PlanRefused("it is not valid here")


def broken(cpu_plan, part):
    return cpu_plan(part, broken=True)


def predicting_something_else(cpu_plan, part):
    return cpu_plan(wrong(part))


def giving_something_else(cpu_plan, part):
    plan = cpu_plan(part)
    plan.outputs = {"prediction": Binding(torch.float16, plan.outputs["prediction"].shape)}
    return plan


def taking_something_else(cpu_plan, part):
    plan = cpu_plan(part)
    plan.inputs = plan.inputs | {"x": Binding(torch.float32, (ROWS, 4, 8, 8))}
    return plan


FAULTS = {
    refused: r"refuses .*denoiser\.plan: it is not valid here; {rebuild}",
    broken: r"the library refuses a call; {rebuild}",
    predicting_something_else: r"something else than PyTorch: denoiser of 4 rows; run: .* verify",
    giving_something_else: r"its prediction is float16 \(rows, .*; the network's .*{rebuild}",
    taking_something_else: r"its x is float32 \(rows, 4, 8, 8\); the network's .*{rebuild}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plan_that_does_not_run_is_refused_and_makes_way_for_the_next(
    tiny_bundle, part, plant, open_first, cpu_plan, fault
):
    plans = {"sm90 denoiser": fault(cpu_plan, part), "sm80 denoiser": cpu_plan(part)}
    site = plant(tiny_bundle, entry(arch="sm90"), entry(arch="sm80"))
    assert open_first(site, Library(plans)).facts["arch"] == "sm80"
    alone = plant(tiny_bundle, entry(arch="sm90"))
    rebuild = r"run: dimr-export build \S+ --backend tensorrt-rtx --arch sm90 --overwrite$"
    with pytest.raises(EngineRefused, match=FAULTS[fault].replace("{rebuild}", rebuild)):
        open_first(alone, Library(plans))


def test_on_a_gpu_that_the_library_does_not_know_another_engine_is_advised(
    tiny_bundle, plant, open_first
):
    library = Library({"sm80 denoiser": PlanUnsupported("UNSUPPORTED_CC")})
    with pytest.raises(EngineRefused, match=r"UNSUPPORTED_CC; set DIMR_ENGINE=pytorch-cuda$"):
        open_first(plant(tiny_bundle, entry()), library)


def test_builds_that_all_fail_are_named_each_with_its_reason(tiny_bundle, plant, open_first):
    site = plant(tiny_bundle, entry(arch="sm80"), entry(arch="sm89"))
    library = Library({f"{arch} denoiser": PlanRefused(f"not {arch}") for arch in ("sm80", "sm89")})
    with pytest.raises(EngineRefused, match=r"not sm89; .*not sm80; .* --arch sm89 --overwrite$"):
        open_first(site, library)


def test_a_plan_of_other_weights_is_replaced_by_overwriting(tiny_bundle, plant, open_first):
    site = plant(tiny_bundle, entry(sources={DENOISER: "0" * 64}))
    with pytest.raises(EngineRefused, match=r"made of another .* --arch sm80 --overwrite$"):
        open_first(site, Library())


def test_too_little_memory_is_refused_before_anything_is_allocated(
    tiny_bundle, part, plant, open_first, cpu_plan
):
    plan = cpu_plan(part)
    site, library = plant(tiny_bundle, entry()), Library({"sm80 denoiser": plan})
    with pytest.raises(EngineRefused, match=r"beside its weights; .* free; set DIMR_SLOTS lower"):
        open_first(site, library, free_bytes=50_000)
    assert plan.contexts == []


def halves(bundle, cpu_plan, least):
    """Plans of a latent model; the decoder takes so many rows or more."""
    denoiser, decoder = parts_of(bundle)
    plans = {"sm80 denoiser": cpu_plan(denoiser), "sm80 decoder": cpu_plan(decoder)}
    plans["sm80 decoder"].profiles = [Profile(least, 4, 4), Profile(4, 8, 8)]
    return plans


@pytest.mark.parametrize("least", [1, 2])
def test_a_decoder_runs_with_as_few_rows_as_it_takes(
    latent_bundle, plant, open_first, cpu_plan, least
):
    site = plant(latent_bundle, entry(), entry(part="decoder"))
    plans = halves(latent_bundle, cpu_plan, least)
    backend = open_first(site, Library(plans))
    latents = torch.randn(2, *parts_of(latent_bundle)[1].inputs["z"].shape[1:])
    with torch.inference_mode():
        torch.testing.assert_close(
            backend.codec.decode(latents),
            latent_bundle.codec.decode(latents),
            rtol=1e-4,
            atol=1e-4,
        )
    (profile, _) = plans["sm80 decoder"].contexts[0]
    assert (profile, len(plans["sm80 decoder"].contexts)) == (0, 1)


def test_a_decoder_that_decodes_something_else_is_refused(
    latent_bundle, plant, open_first, cpu_plan
):
    site = plant(latent_bundle, entry(), entry(part="decoder"))
    plans = halves(latent_bundle, cpu_plan, 1)
    plans["sm80 decoder"] = cpu_plan(wrong(parts_of(latent_bundle)[1]))
    with pytest.raises(EngineRefused, match="something else than PyTorch: decoder of 1 rows"):
        open_first(site, Library(plans))


def test_memory_of_the_decoder_counts(latent_bundle, plant, open_first, cpu_plan):
    site = plant(latent_bundle, entry(), entry(part="decoder"))
    plans = halves(latent_bundle, cpu_plan, 1)
    plans["sm80 decoder"].scratch_bytes = 2**31
    with pytest.raises(EngineRefused, match=r"needs 20\d\d MiB beside its weights"):
        open_first(site, Library(plans))


def test_where_a_decoder_was_built_pytorchs_stays_where_it_is(
    latent_bundle, plant, open_first, cpu_plan, monkeypatch
):
    site = plant(latent_bundle, entry(), entry(part="decoder"))
    moved = []
    monkeypatch.setattr(type(latent_bundle.codec), "to", lambda codec, _: moved.append(codec))
    open_first(site, Library(halves(latent_bundle, cpu_plan, 1)))
    assert moved == []


def test_prompts_are_read_by_a_plan_and_by_nothing_else(t5_bundle, plant, open_first, cpu_plan):
    site = plant(t5_bundle, entry(part="denoiser-1"), entry(part="text_encoder"))
    denoiser, encoder = parts_of(t5_bundle)
    plans = {"sm80 denoiser-1": cpu_plan(denoiser), "sm80 text_encoder": cpu_plan(encoder)}
    engine = SlotEngine(site.bundle, open_first(site, Library(plans)), capacity=2)
    prompts, wanted = engine._prompts, t5_bundle.prompts.states(["red apple", ""])
    assert prompts is not None
    torch.testing.assert_close(prompts.states(["red apple", ""]), wanted)
    plans["sm80 text_encoder"].broken = True
    with pytest.raises(PlanFault):
        prompts.states(["green tree"])


def test_a_text_encoder_that_makes_other_states_is_refused(t5_bundle, plant, open_first, cpu_plan):
    site = plant(t5_bundle, entry(part="denoiser-1"), entry(part="text_encoder"))
    denoiser, encoder = parts_of(t5_bundle)
    plans = {"sm80 denoiser-1": cpu_plan(denoiser), "sm80 text_encoder": cpu_plan(wrong(encoder))}
    with pytest.raises(EngineRefused, match="something else than PyTorch: text_encoder of 1 rows"):
        open_first(site, Library(plans))


def test_an_engine_that_failed_when_it_was_verified_is_refused(
    tiny_bundle, plant, open_first, cpu_plan
):
    failed = {"passed": False, "engine": NAME}
    site = plant(tiny_bundle, entry(parity=failed))
    library = Library({"sm80 denoiser": cpu_plan(parts_of(tiny_bundle)[0])})
    with pytest.raises(EngineRefused, match=r"differed too much .*run: dimr-export verify .*; or"):
        open_first(site, library)
    assert library.opened == []


def test_fp16_goes_first_and_then_what_is_closest_to_the_gpu(tmp_path):
    builds = [
        built(tmp_path, library="tensorrt_rtx 1.6.0"),
        built(tmp_path, arch="sm120"),
        built(tmp_path, precision="fp32", arch="sm90"),
        built(tmp_path),
        built(tmp_path, arch="sm89"),
    ]
    found = fitting(builds, NAME, Library(), "sm90")
    assert found == (builds[4], builds[3], builds[2])


def test_a_plan_of_the_second_compiler_runs_where_its_library_is(tmp_path):
    torch_tensorrt = "tensorrt 11.0.0 (torch_tensorrt 2.13.0)"
    plan = built(tmp_path, library=torch_tensorrt, backend="torch-tensorrt", arch="sm90")
    library = Library(library="tensorrt 11.0.0", portable=False)
    assert fitting([plan], "tensorrt", library, "sm90") == (plan,)


def test_builds_for_elsewhere_are_refused_each_with_its_reason(tmp_path):
    """What to run names no architecture: not every GPU has a target of its own."""
    builds = [built(tmp_path, library="tensorrt_rtx 1.6.0"), built(tmp_path, arch="sm120")]
    expected = (
        "engine 'tensorrt-rtx': it was built by tensorrt_rtx 1.6.0; here is "
        f"{LIBRARY}; it was built for sm120; this GPU is sm90; run: "
        f"dimr-export build {tmp_path} --backend tensorrt-rtx --overwrite"
    )
    with pytest.raises(EngineRefused) as caught:
        fitting(builds, NAME, Library(), "sm90")
    assert str(caught.value) == expected


def test_parts_that_share_no_bucket_are_refused(tmp_path):
    entries = {
        "denoiser-1": entry(part="denoiser-1", batch_buckets=(1, 2)),
        "denoiser-2": entry(part="denoiser-2", batch_buckets=(4,)),
    }
    plans = Listed(tmp_path, entries, ("denoiser-1", "denoiser-2"))
    with pytest.raises(EngineRefused, match=r"row counts of which none is shared; run: dimr"):
        fitting([plans], NAME, Library(), "sm90")
