"""dimr-evaluate small, of prompt models."""

import json

import pytest

from model.bundle import load_bundle
from model.evaluation.__main__ import main
from model.evaluation.report import Report


@pytest.fixture
def command(prompt_bundle_folder, named_folder, tmp_path):
    """Run the command with little work, into tmp_path/report.json or another file."""

    def run(*arguments, out="report.json"):
        return main(
            [
                *("small", str(prompt_bundle_folder), "--data", str(named_folder)),
                *("--out", str(tmp_path / out), "--samples-per-class", "1"),
                *("--steps", "1", "--guidance", "1", "--classifier-steps", "1"),
                *arguments,
            ]
        )

    return run


def test_captions_and_other_words_are_reported(command, tmp_path, capsys):
    assert command() == 0
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    assert report.measures.samples == 3
    assert report.measures.prompts is not None
    shown = capsys.readouterr().out
    for part in ("caption accuracy, top 1", "a red apple", "a blue apple", "elephant", "by chance"):
        assert part in shown


def test_the_card_tells_what_prompts_work_and_what_was_found_of_others(
    command, prompt_bundle_folder, prompts, tmp_path
):
    assert command("--size", "8", out="lower.json") == 0
    lower = tmp_path / "lower.json"
    assert command("--write-card", "--training-note", "a minute", "--lower", str(lower)) == 0
    bundle = load_bundle(prompt_bundle_folder)
    card = " ".join((prompt_bundle_folder / "MODEL_CARD.md").read_text().split())
    for part in (
        "# tiny-layered",
        "at 8 x 8 or 16 x 16 pixels",
        'dimr-sample BUNDLE --prompt "red apple"',
        "MiniLM-L6",
        prompts.identity.sha256[:16],
        "first 8 tokens",
        "red apple, frog, banana.",
        "prompt dropout: 0.1",
        "| caption accuracy, top 1 |",
        "## At 8 pixels",
        "| a blue apple |",
        "| elephant |",
        "It knows the things above and nothing else.",
        "It was never taught to combine.",
        "Drawn by nobody, free for all.",
    ):
        assert part in card
    assert "there are no prompts" not in card
    assert "FID" not in card
    found = bundle.manifest.evaluation["measures"]
    assert found["prompts"]["wordings"][0]["kind"] == "with an article"


def test_a_report_of_another_model_or_of_the_same_size_is_no_lower_scale(command, tmp_path, capsys):
    assert command(out="same.json") == 0
    assert command("--write-card", "--lower", str(tmp_path / "same.json")) == 2
    assert "is of size None of bundle tiny-layered" in capsys.readouterr().err
    assert command("--size", "8", "--seed", "3", out="seed.json") == 0
    assert command("--write-card", "--lower", str(tmp_path / "seed.json")) == 2
    assert "seed=3" in capsys.readouterr().err
    other = json.loads((tmp_path / "seed.json").read_text()) | {"denoiser_sha256": "0" * 64}
    (tmp_path / "other.json").write_text(json.dumps(other))
    assert command("--write-card", "--lower", str(tmp_path / "other.json")) == 2
    assert "(000000000000...)" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--size", "12"], "--size: got 12; allowed with this bundle: 8 or 16"),
        (["--size", "8", "--write-card"], "--size: got 8 with --write-card"),
        (["--lower", "x.json"], "--lower: has no card to go to"),
        (["--lower", "nowhere.json", "--write-card"], "nowhere.json"),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    command, tmp_path, capsys, arguments, named
):
    assert command(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert named in lines[0]
    assert not (tmp_path / "report.json").exists()
