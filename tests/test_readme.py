"""What the README says about the code is what the code says."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import export.__main__ as export
import model.data.__main__ as data
import model.denoisers.__main__ as denoisers
import model.evaluation.__main__ as evaluation
import model.sampling.__main__ as sampling
import model.study.__main__ as study
import tests.benchmarks.__main__ as benchmarks
from model.latents import arguments as latents
from model.study import dimr, layered
from model.study.results import Study
from model.study.table import markdown
from model.training import arguments as training
from service.settings import settings_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_settings_table_is_the_one_of_the_code():
    table = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", README, re.S)
    assert table is not None
    assert table[1] == settings_table()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_local_link_leads_somewhere(target):
    assert (ROOT / target).exists()


def test_the_layout_names_what_is_there():
    layout = re.search(r"## Layout\n\n```\n(.*?)```", README, re.S)
    assert layout is not None
    package = ""
    for line in layout[1].splitlines():
        names = re.findall(r"(?:^|\s{2,})([a-z_]+(?:/|\.py))(?=\s)", line)
        assert names, line
        if not line.startswith(" "):
            package = names[0]
            assert (ROOT / package).is_dir()
            continue
        for name in names:
            assert (ROOT / package / name).exists(), f"{package}{name}"


COMMANDS = {
    "dimr-serve": "service",
    "dimr-api": "service.api",
    "dimr-worker": "service.worker",
    "dimr-client": "service.client",
    "dimr-train": "model.training",
    "dimr-sample": "model.sampling",
    "dimr-evaluate": "model.evaluation",
    "dimr-export": "export",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command):
    assert f"`{command}`" in README
    run = subprocess.run(
        [sys.executable, "-m", COMMANDS[command], "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0
    assert run.stdout.startswith(f"usage: {command}")
    assert len(run.stdout) > 300


PARSERS = {
    "dimr-train": training.build_parser,
    "dimr-evaluate": evaluation._parser,
    "dimr-export": export._parser,
    "dimr-sample": sampling._parser,
    "model.data": data._parser,
    "model.denoisers": denoisers._parser,
    "model.latents": latents.build_parser,
    "model.study": study._parser,
    "export.kernels.training": training.build_parser,
    "model.training": training.build_parser,
    "tests.benchmarks": benchmarks._parser,
}


def documented_commands():
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for block in re.findall(r"```bash\n(.*?)```", path.read_text(), re.S):
            for line in block.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace(".venv/bin/", ""))
                if "-m" in words:
                    yield words[words.index("-m") + 1 :]
                elif words[0] in PARSERS:
                    yield words


@pytest.mark.parametrize("words", list(documented_commands()), ids=" ".join)
def test_every_documented_command_is_one_that_the_program_takes(words):
    parsed = PARSERS[words[0]]().parse_args(words[1:])
    assert vars(parsed)


@pytest.mark.parametrize(
    ("page", "record", "rows"),
    [
        ("training.md", "ablation-study-*.json", dimr.ROWS),
        ("layered.md", "layered-study-*.json", layered.ROWS),
    ],
)
def test_the_study_in_the_documentation_is_the_one_that_was_recorded(page, record, rows):
    (recorded,) = (ROOT / "tests" / "benchmarks" / "results").glob(record)
    table = markdown(Study.model_validate_json(recorded.read_bytes()))
    text = (ROOT / "docs" / page).read_text()
    (shown,) = re.findall(r"<!-- study -->\n(.*?)<!-- /study -->", text, re.S)
    assert table.endswith(shown)
    assert shown.count("\n") == 2 + len(rows)


@pytest.mark.slow
@pytest.mark.timeout(600)  # a build takes all of a core
def test_engines_as_the_readme_makes_them_have_each_norm_in_one_kernel_and_are_close(tmp_path):
    """The gate: no time-dependent norm or attention of a shipped model is split, in any bucket."""
    (block,) = (b for b in re.findall(r"```bash\n(.*?)```", README, re.S) if "dimr-export" in b)
    copy, *commands = map(shlex.split, block.splitlines())
    (source, target) = copy[2:]
    assert copy[0] == "cp"
    shutil.copytree(ROOT / source, tmp_path / target)
    for words in commands:
        command = [sys.executable, "-m", "export", *words[1:]]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    build, parity = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("build", "parity"))
    assert build["parts"][0]["td_norms_split"] == {}
    assert len(build["parts"][0]["layers"]) == len(build["batch_buckets"]) == 5
    assert build["td_norms"] == build["td_norms_single_kernel"] == 16
    assert build["attentions"] == build["attentions_fused"] == 5
    assert parity["passed"] is True


def test_sampling_as_the_readme_does_it(tmp_path):
    (block,) = (
        b for b in re.findall(r"```bash\n(.*?)```", README, re.S) if "dimr-sample deploy" in b
    )
    words = block.replace('"red apple"', "red_apple").split()
    words = [word.replace("red_apple", "red apple") for word in words]
    words = [word.replace("images", str(tmp_path)) for word in words]
    command = [sys.executable, "-m", "model.sampling", *words[1:]]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "grid.png").stat().st_size > 0
    assert len(list(tmp_path.glob("red-apple-*.png"))) == 4
