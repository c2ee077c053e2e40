"""dimr-evaluate small."""

import json

import pytest

from model.bundle import load_bundle, read_manifest
from model.evaluation.__main__ import main
from model.evaluation.report import Report


@pytest.fixture
def command(bundle_folder, data_folder, tmp_path):
    """Run the command with little work, into tmp_path/report.json."""

    def run(*arguments):
        return main(
            [
                *("small", str(bundle_folder), "--data", str(data_folder)),
                *("--out", str(tmp_path / "report.json")),
                *("--samples-per-class", "1", "--steps", "2", "--classifier-steps", "1"),
                *arguments,
            ]
        )

    return run


def test_a_report_says_what_was_measured_how(command, bundle_folder, tmp_path, capsys):
    assert command("--seed", "3", "--guidance", "2") == 0
    report = Report.model_validate_json((tmp_path / "report.json").read_text())
    files = read_manifest(bundle_folder).files
    assert report.bundle_id == "tiny"
    assert report.denoiser_sha256 == files["denoiser.safetensors"].sha256
    assert report.command.startswith("dimr-evaluate small ")
    assert report.command.endswith("--seed 3 --guidance 2")
    assert report.evaluation.seed == 3
    assert report.evaluation.sampling.guidance == 2
    assert report.measures.samples == 3
    shown = capsys.readouterr().out
    assert "near copies" in shown
    assert "Lowest accuracy: " in shown


def test_the_bundle_stays_as_it_is_without_a_card(command, bundle_folder):
    before = {path.name: path.read_bytes() for path in bundle_folder.iterdir()}
    command()
    assert {path.name: path.read_bytes() for path in bundle_folder.iterdir()} == before


def test_a_card_joins_the_bundle_and_the_summary_its_manifest(command, bundle_folder, tmp_path):
    before = read_manifest(bundle_folder)
    assert command("--write-card", "--training-note", "one second on a toaster") == 0
    after = load_bundle(bundle_folder).manifest
    assert set(after.files) == {*before.files, "MODEL_CARD.md"}
    assert {name: after.files[name] for name in before.files} == before.files
    report = json.loads((tmp_path / "report.json").read_text())
    for name in ("accuracy", "nearest_rmse", "small_feature_frechet", "folds"):
        assert after.evaluation["measures"][name] == report["measures"][name]
    worst = {c["name"]: c["top1"] for c in report["measures"]["classes"] if c["top1"] < 1}
    assert after.evaluation["worst_classes"] == worst != {}
    assert after.model_copy(update={"files": {}, "evaluation": {}}) == before.model_copy(
        update={"files": {}}
    )


def test_a_card_tells_people_what_they_need(command, bundle_folder):
    command("--write-card", "--training-note", "one second on a toaster")
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    for part in (
        "# tiny",
        "draws 3 classes at 16 x 16 pixels",
        "6 drawings",
        "plain, pale",
        "- images seen: 24",
        "- time and machine: one second on a toaster",
        "--write-card --training-note 'one second on a toaster'",
        "| near copies (RMSE below 0.05) |",
        "close to a lookup of its 6 training images",
        "there are no prompts",
        "Drawn by nobody, free for all.",
    ):
        assert part in card
    assert "FID" not in card


def test_a_card_shows_the_gain_over_an_earlier_report_of_the_same_judge(
    command, bundle_folder, tmp_path
):
    assert command() == 0
    before = tmp_path / "before.json"
    (tmp_path / "report.json").rename(before)
    assert command("--write-card", "--before", str(before)) == 0
    card = (bundle_folder / "MODEL_CARD.md").read_text()
    assert "## Compared with the model before" in card
    median = json.loads(before.read_text())["measures"]["nearest_rmse"]["samples"]["median"]
    assert f"| nearest training RMSE, median | {median:.3f} | {median:.3f} |" in card


def test_a_report_of_other_samples_or_by_another_judge_is_not_compared_with(
    command, tmp_path, capsys
):
    assert command() == 0
    before = tmp_path / "before.json"
    report = json.loads((tmp_path / "report.json").read_text())
    (tmp_path / "report.json").unlink()
    for part, value, named in (
        ("evaluation", report["evaluation"] | {"seed": 9}, "seed=9"),
        ("measures", report["measures"] | {"judge_sha256": "0" * 64}, "another judge"),
        ("measures", {}, "is no report"),
    ):
        before.write_text(json.dumps(report | {part: value}))
        assert command("--write-card", "--before", str(before), "--overwrite") == 2
        assert named in capsys.readouterr().err


def test_a_second_card_replaces_the_first(command, bundle_folder):
    command("--write-card", "--training-note", "first")
    assert command("--write-card", "--training-note", "second", "--overwrite") == 0
    assert "time and machine: second" in (bundle_folder / "MODEL_CARD.md").read_text()
    assert sorted(path.name for path in bundle_folder.iterdir()) == [
        "MODEL_CARD.md",
        "denoiser.safetensors",
        "labels.json",
        "manifest.json",
    ]
    load_bundle(bundle_folder)


def test_a_card_that_cannot_be_written_leaves_the_bundle_sound(command, bundle_folder, capsys):
    (bundle_folder / "MODEL_CARD.md").mkdir()
    assert command("--write-card") == 2
    assert "MODEL_CARD.md" in capsys.readouterr().err
    assert "MODEL_CARD.md" not in load_bundle(bundle_folder).manifest.files


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--samples-per-class", "0"], ["--samples-per-class", "'0'", "from 1"]),
        (["--classifier-steps", "x"], ["--classifier-steps", "'x'"]),
        (["--steps", "1001"], ["--steps", "'1001'", "1 to 1000"]),
        (["--guidance", "-1"], ["--guidance", "'-1'"]),
        (["--seed", str(2**63)], ["--seed", f"to {2**63 - 1}"]),
        (["--seed", str(2**63 - 1), "--samples-per-class", "2"], ["--seed", f"{2**63 - 2}"]),
        (["--out", "report.txt"], ["--out", "'report.txt'", ".json"]),
        (["--training-note", "x"], ["--training-note", "--write-card"]),
        (["--before", "x.json"], ["--before", "--write-card"]),
        (["--data", "/nowhere"], ["/nowhere"]),
        (["--dta", "x"], ["--dta"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_bad_value_is_one_clear_line_and_nothing_is_written(
    command, tmp_path, capsys, arguments, named
):
    assert command(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dimr-evaluate: ")
    for part in named:
        assert part in lines[0]
    assert not (tmp_path / "report.json").exists()


def test_a_report_is_replaced_only_when_asked(command, tmp_path, capsys):
    (tmp_path / "report.json").write_text("kept")
    assert command() == 2
    assert "report.json exists already" in capsys.readouterr().err
    assert (tmp_path / "report.json").read_text() == "kept"


def test_a_card_needs_the_notices_of_the_data(command, data_folder, tmp_path, capsys):
    (data_folder / "NOTICE").unlink()
    assert command("--write-card") == 2
    assert "NOTICE is missing" in capsys.readouterr().err
    assert not (tmp_path / "report.json").exists()


def test_a_folder_that_is_no_bundle_is_refused(data_folder, tmp_path, capsys):
    out = str(tmp_path / "report.json")
    assert (
        main(["small", str(data_folder), "--data", str(data_folder), "--out", out, "--write-card"])
        == 2
    )
    assert "no bundle" in capsys.readouterr().err


def test_help_teaches_with_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["small", "--help"])
    assert ended.value.code == 0
    assert "dimr-evaluate small BUNDLE --data deploy/data/emoji" in capsys.readouterr().out
