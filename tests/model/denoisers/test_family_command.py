"""python -m model.denoisers."""

import json
import subprocess
import sys

import pytest

from model.denoisers.__main__ import main
from model.denoisers.family import VARIANTS


@pytest.fixture
def tiny_file(tiny_recipe, tmp_path):
    path = tmp_path / "tiny.json"
    path.write_text(tiny_recipe.model_dump_json(), "utf-8")
    return path


@pytest.mark.slow
def test_without_arguments_the_five_variants_are_counted(capsys):
    assert main([]) == 0
    title, header, *lines = capsys.readouterr().out.splitlines()
    assert title == "one forward pass of one example"
    assert header.split()[:3] == ["recipe", "parameters", "GMACs"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert tuple(rows) == VARIANTS
    assert rows["dimr-xl2r-256"] == ["505,046,408", "160.18", "106.33", "/", "53.85", "320.35"]


def test_plain_columns_are_aligned(tiny_file, capsys):
    main([str(tiny_file), "dimr-xl2r-256"])
    _, *lines = capsys.readouterr().out.splitlines()
    assert len({len(line) for line in lines}) == 1


def test_a_terminal_gets_a_drawn_table(tiny_file, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    assert main([str(tiny_file)]) == 0
    assert "┃" in capsys.readouterr().out


def test_parts_are_listed_on_request_and_end_with_their_total(tiny_file, capsys):
    assert main([str(tiny_file), "--parts"]) == 0
    family, parts = capsys.readouterr().out.split("\n\n")
    total = family.splitlines()[-1].split()[1]
    title, header, *rows = parts.splitlines()
    assert title == "tiny"
    assert header.split() == ["stage", "part", "parameters", "GMACs"]
    assert rows[-1].split()[:2] == ["total", total]
    assert sum(int(row.split()[-2].replace(",", "")) for row in rows[:-1]) == int(
        total.replace(",", "")
    )


def test_a_network_without_stages_has_no_numbers_by_stage(tiny_file, capsys):
    recipe = json.loads(tiny_file.read_text("utf-8"))
    recipe["network"] = {"kind": "dit", "size": 8, "channels": 12, "classes": 3} | {
        "dim": 8,
        "blocks": 1,
        "heads": 2,
        "patch": 2,
    }
    tiny_file.write_text(json.dumps(recipe), "utf-8")
    assert main([str(tiny_file)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split()[3] == "-"


def test_the_ratio_of_two_networks_is_printed_on_request(tiny_file, capsys):
    larger = json.loads(tiny_file.read_text("utf-8"))
    larger["id"] = "larger"
    larger["network"]["stages"][0]["blocks"] = 3
    path = tiny_file.with_name("larger.json")
    path.write_text(json.dumps(larger), "utf-8")
    assert main([str(tiny_file), str(path), "--ratio"]) == 0
    family, ratio = capsys.readouterr().out.split("\n\n")
    less, more = (int(row.split()[1].replace(",", "")) for row in family.splitlines()[-2:])
    assert ratio.startswith("tiny / larger: 0.")
    assert ratio.endswith(f" of the MACs, {less / more:.4f} of the parameters\n")


@pytest.mark.parametrize("names", [[], ["dimr-xl2r-256"], ["dimr-xl2r-256"] * 3])
def test_only_two_recipes_have_a_ratio(names, capsys):
    assert main([*names, "--ratio"]) == 2
    count = len(names) or len(VARIANTS)
    assert f"--ratio: got {count} recipes; allowed: 2" in capsys.readouterr().err


def test_the_parts_of_a_layered_network_are_named_by_their_grids(layered_recipe, tmp_path, capsys):
    path = tmp_path / "layered.json"
    path.write_text(layered_recipe.model_dump_json(), "utf-8")
    assert main([str(path), "--parts"]) == 0
    family, parts = capsys.readouterr().out.split("\n\n")
    assert family.splitlines()[-1].count("/") == 2
    rows = [row.split("  ") for row in parts.splitlines()[2:-1]]
    assert [(row[0], next(filter(None, row[1:])).strip()) for row in rows] == [
        ("-", "time"),
        ("-", "text"),
        ("-", "pooled"),
        ("0", "core 8 in"),
        ("0", "core 8 down"),
        ("0", "core 4 down"),
        ("0", "core 8 to 4"),
        ("0", "core 4 middle"),
        ("0", "core 8 up"),
        ("0", "core 4 up"),
        ("0", "core 4 to 8"),
        ("1", "16 in"),
        ("1", "8 to 16"),
        ("1", "16 blocks"),
        ("2", "32 in"),
        ("2", "16 to 32"),
        ("2", "32 blocks"),
        ("0", "output 8"),
        ("1", "output 16"),
        ("2", "output 32"),
    ]


def test_the_written_numbers_are_exact(tmp_path, capsys):
    path = tmp_path / "counts.json"
    assert main(["dimr-xl2r-256", "--json", str(path)]) == 0
    (found,) = json.loads(path.read_text("utf-8"))["networks"]
    assert (found["id"], found["parameters"]) == ("dimr-xl2r-256", 505_046_408)
    assert found["macs"] == sum(found["stage_macs"]) == sum(p["macs"] for p in found["parts"])
    assert found["parts"][0]["name"] == "input conv"
    assert [entry.name for entry in tmp_path.iterdir()] == ["counts.json"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dimr-xxl"], "recipe: got 'dimr-xxl'; allowed: ablation-32, dimr-g2r-256, "),
        (["."], "recipe: got '.'; allowed: "),
        (["--json", "no-such-folder/counts.json"], "got 'no-such-folder/counts.json'; allowed: "),
        (["--json", "."], "got '.'; allowed: the path of a file"),
        (["--josn", "counts.json"], "unrecognized arguments: --josn"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(arguments, complaint, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert complaint in found.err
    assert found.err.count("\n") == 1
    assert found.out == ""
    assert not list(tmp_path.iterdir())


def test_a_recipe_that_does_not_validate_is_refused_by_field(tiny_file, capsys):
    recipe = json.loads(tiny_file.read_text("utf-8"))
    recipe["network"]["stages"][0]["blocks"] = 8
    recipe["training"]["batch"] = 0
    tiny_file.write_text(json.dumps(recipe), "utf-8")
    assert main([str(tiny_file)]) == 2
    complaint = capsys.readouterr().err
    assert "network.dimr.stages.0.transformer: " in complaint
    assert "blocks: got 8; allowed: an odd number" in complaint
    assert "training.batch: " in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]"])
def test_a_file_that_is_no_recipe_is_refused(tiny_file, content, capsys):
    tiny_file.write_bytes(content)
    assert main([str(tiny_file)]) == 2
    assert str(tiny_file) in capsys.readouterr().err


def test_a_network_too_large_for_any_machine_is_refused(tiny_file, capsys):
    recipe = json.loads(tiny_file.read_text("utf-8"))
    recipe["network"]["stages"][0]["dim"] = 2 * 10**12
    tiny_file.write_text(json.dumps(recipe), "utf-8")
    assert main([str(tiny_file)]) == 2
    assert "network: its tensors are too large" in capsys.readouterr().err


def test_nothing_is_written_when_one_of_the_recipes_is_refused(tiny_file, tmp_path):
    path = tmp_path / "counts.json"
    assert main([str(tiny_file), "no-such", "--json", str(path)]) == 2
    assert not path.exists()


def test_it_runs_as_a_module(tiny_file):
    done = subprocess.run(
        [sys.executable, "-m", "model.denoisers", str(tiny_file)],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "tiny" in done.stdout
    assert done.stderr == ""
