"""What a run folder remembers, and what may not be asked of it."""

import json

import pytest
import torch

from model.specs.recipe import Recipe
from model.specs.text import MiniLMSpec, TextEncoderIdentity, TransformersSpec
from model.specs.training import ExecutionSpec
from model.training import run as runs
from model.training.checkpoint import ResumeRefused
from model.training.distributed import World

ALONE, PAIR = (World(0, size, torch.device("cpu")) for size in (1, 2))


@pytest.mark.parametrize(
    ("world", "execution", "complaint"),
    [
        (PAIR, {"accumulate": 3}, r"training.batch: got 4; allowed: a multiple of 6 \(2 processes"),
        (ALONE, {"accumulate": 8}, "training.batch: got 4; allowed: a multiple of 8"),
        (PAIR, {"precision": "fp16", "parallelism": "fsdp"}, "--precision: got 'fp16'; allowed"),
        (ALONE, {"compile": True, "kernels": "triton"}, "--compile: got it with kernels of triton"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_recipe, world, execution, complaint):
    with pytest.raises(ValueError, match=complaint):
        runs.check_fits(tiny_recipe, ExecutionSpec.model_validate(execution), world)


def test_what_fits_is_taken(tiny_recipe):
    fitting = ExecutionSpec.model_validate({"precision": "bf16", "parallelism": "fsdp"})
    runs.check_fits(tiny_recipe, fitting, PAIR)
    runs.check_fits(tiny_recipe, ExecutionSpec(accumulate=2), PAIR)


def test_what_is_done_otherwise_than_before_is_named_and_nothing_else(
    tiny_recipe, varied, tmp_path
):
    plain = ExecutionSpec()
    now = runs.Circumstances(tiny_recipe, plain, ALONE, "pictures", 21)
    assert runs.difference(tmp_path, now) is None
    runs.record(tmp_path, now)
    assert runs.difference(tmp_path, now) is None
    other = ExecutionSpec.model_validate({"precision": "bf16"})
    faster = varied(optimiser={"rate": 0.5})
    assert runs.difference(tmp_path, runs.Circumstances(faster, other, PAIR, "pictures", 24)) == (
        "precision was fp32, is bf16, processes was 1, is 2, examples was 21, is 24, "
        "rate was 0.001, is 0.5"
    )
    facts = json.loads((tmp_path / "execution.json").read_text())
    assert facts["threads"] == torch.get_num_threads()


def test_a_run_older_than_kernels_was_one_without(tiny_recipe, tmp_path):
    now = runs.Circumstances(tiny_recipe, ExecutionSpec(), ALONE, "pictures", 21)
    runs.record(tmp_path, now)
    path = tmp_path / "execution.json"
    facts = json.loads(path.read_text())
    assert facts.pop("kernels") == "pytorch"
    path.write_text(json.dumps(facts))
    assert runs.difference(tmp_path, now) is None
    triton = ExecutionSpec.model_validate({"kernels": "triton"})
    changed = runs.Circumstances(tiny_recipe, triton, ALONE, "pictures", 21)
    assert runs.difference(tmp_path, changed) == "kernels was pytorch, is triton"


@pytest.fixture
def started(layered_recipe, tmp_path):
    """A run folder of the layered recipe."""
    here = runs.Circumstances(layered_recipe, ExecutionSpec(), ALONE, "x", 1)
    runs.record(tmp_path / "run", here)
    return tmp_path / "run"


def edited(recipe, path, value):
    """The recipe with another value at a path of names."""
    values = place = recipe.model_dump(mode="json")
    *above, last = path.split(".")
    for name in above:
        place = place[name]
    place[last] = value
    return Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("network.dropout", 0.5, "network"),
        ("process.prediction", "noise", "process"),
        ("text", {"kind": "transformers", "source": "x/y"}, "text"),
        ("data.concepts", ["star"], "data"),
        ("training.seed", 7, "training.seed"),
        ("training.batch", 8, "training.batch"),
        ("training.condition_dropout", 0.5, "training.condition_dropout"),
        ("training.loss", "last", "training.loss"),
        ("training.measured", "noise", "training.measured"),
        ("training.scale_weights", [1, 1, 2], "training.scale_weights"),
        ("training.crop", {"side": 4}, "training.crop"),
        ("training.times", "discrete", "training.times"),
    ],
)
def test_a_run_is_not_continued_where_something_else_would_be_learnt(
    started, layered_recipe, path, value, named
):
    with pytest.raises(ResumeRefused) as refused:
        runs.check_same(started, edited(layered_recipe, path, value))
    allowed = started / "recipe.json"
    assert str(refused.value) == (
        f"--resume: {started} was started with another {named}; allowed: {allowed}"
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.steps", 50),
        ("training.optimiser.rate", 1e-4),
        ("sampling.guidance", 3.0),
        ("description", "another"),
    ],
)
def test_what_decides_nothing_of_that_may_change_on_the_way(started, layered_recipe, path, value):
    runs.check_same(started, edited(layered_recipe, path, value))


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (
            lambda values: values["training"].update(class_dropout=0.1),
            "training.class_dropout: Extra inputs are not permitted, got 0.1; allowed: a run of",
        ),
        (lambda values: values.pop("network"), "network: Field required; allowed: a run of"),
    ],
    ids=["a key of before", "a lacking key"],
)
def test_a_run_of_another_version_is_refused_in_one_line(started, layered_recipe, harm, named):
    path = started / "recipe.json"
    values = json.loads(path.read_text())
    harm(values)
    path.write_text(json.dumps(values))
    with pytest.raises(ResumeRefused) as refused:
        runs.check_same(started, layered_recipe)
    assert str(refused.value).startswith(f"--resume: recipe {path}: ")
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_recipe_of_a_run_that_is_cut_short_is_refused_in_one_line(started, layered_recipe):
    path = started / "recipe.json"
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ResumeRefused, match=r"recipe\.json: Invalid JSON: ") as refused:
        runs.check_same(started, layered_recipe)
    assert "\n" not in str(refused.value)


IDENTITY = TextEncoderIdentity(encoder=MiniLMSpec(), sha256="a" * 64, width=384)


def test_the_text_encoder_that_a_run_was_started_with_is_taken_under_any_name(started):
    runs.record_text(started, IDENTITY)
    assert runs.check_text(started, IDENTITY) is None
    moved = IDENTITY.model_copy(update={"encoder": TransformersSpec(source="elsewhere")})
    assert runs.check_text(started, moved) is None


def test_a_text_encoder_that_was_changed_under_its_name_is_refused(started):
    runs.record_text(started, IDENTITY)
    with pytest.raises(
        ResumeRefused, match=r"encoder: got sha256 b{12}\.\.\.; allowed: a{12}\.\.\."
    ):
        runs.check_text(started, IDENTITY.model_copy(update={"sha256": "b" * 64}))


def test_a_run_that_does_not_tell_its_text_encoder_says_so(started):
    said = runs.check_text(started, IDENTITY)
    assert said == (
        f"{started} has no text-encoder.json: whether its text encoder was this one is not known"
    )
    assert runs.check_text(started, None) is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[1]"])
def test_a_damaged_record_of_the_text_encoder_is_refused_in_one_line(started, content):
    (started / "text-encoder.json").write_bytes(content)
    with pytest.raises(ResumeRefused, match=r"text-encoder\.json is damaged; allowed: ") as refused:
        runs.check_text(started, IDENTITY)
    assert "\n" not in str(refused.value)


def test_a_policy_on_bad_examples_may_change_on_the_way(varied, tmp_path):
    images = {"kind": "images", "size": 16}
    started = varied(data=images)
    runs.record(tmp_path, runs.Circumstances(started, ExecutionSpec(), ALONE, "x", 1))
    runs.check_same(tmp_path, varied(data=images | {"on_bad": "skip"}))
    with pytest.raises(ResumeRefused, match="another data"):
        runs.check_same(tmp_path, varied(data=images | {"flip": True}))
