import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from export.kernels.ahead import (
    CAPABILITIES,
    backward_form,
    compile_ahead,
    directive,
    forms,
    forward_form,
    parameters_form,
    update_form,
    write,
)
from export.kernels.errors import TargetUnfit
from model.specs.networks import Norm
from model.specs.process import Prediction

FORMS = {
    "td_norm_whole": forward_form(Norm.TD_LAYERNORM, torch.float16, 960),
    "td_norm_long": forward_form(Norm.TD_RMSNORM, torch.bfloat16, 38400, adds=True),
    "td_norm_backward_whole": backward_form(Norm.TD_RMSNORM, torch.bfloat16, 480, adds=True),
    "td_norm_backward_long": backward_form(Norm.TD_LAYERNORM, torch.float32, 38400),
    "parameter_gradients": parameters_form(),
    "tick_update": update_form(Prediction.VELOCITY, torch.float16),
}
TARGETS = {80: "sm_80", 90: "sm_90a", 120: "sm_120a"}
POINTER, NUMBER, FLOAT = ".u64", ".u32", ".f32"


def parameters_of(ptx, entry):
    """Types of the parameters of an entry, in order."""
    listed = re.search(rf"\.visible \.entry {entry}\((.*?)\)", ptx, re.DOTALL)
    assert listed is not None
    return re.findall(r"\.param (\.\w+)", listed[1])


def type_of(operand):
    return POINTER if operand.startswith("*") else {"i32": NUMBER, "fp32": FLOAT}[operand]


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("entry", FORMS)
def test_a_kernel_compiles_for_every_target(entry):
    form = FORMS[entry]
    for capability in CAPABILITIES:
        compiled = compile_ahead(form, capability)
        assert compiled.entry == entry
        assert directive(compiled.ptx, "target") == TARGETS[capability]
        assert compiled.ptx.count(".visible .entry") == 1
        operands = [type_of(operand) for operand in form.operands.values()]
        assert parameters_of(compiled.ptx, entry) == [*operands, POINTER, POINTER]
        assert compiled.cubin.startswith(b"\x7fELF")
        assert compiled.shared_bytes <= 48 * 1024
        assert f".reqntid {compiled.threads}" in compiled.ptx


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("entry", FORMS)
def test_a_kernel_compiles_where_integers_are_1(entry):
    """A launch makes a constant of an integer that is 1: one slot, one row a sample."""
    form = FORMS[entry]
    ones = [name for name, kind in form.operands.items() if kind == "i32"]
    given = {name: kind for name, kind in form.operands.items() if name not in ones}
    aligned = tuple(name for name in form.aligned if name in given)
    constants = {**form.constants, **dict.fromkeys(ones, 1)}
    single = replace(form, operands=given, constants=constants, aligned=aligned)
    assert compile_ahead(single, 80).entry == entry


@pytest.mark.usefixtures("compiler")
def test_the_update_rounds_every_operation_by_itself():
    ptx = compile_ahead(FORMS["tick_update"], 80).ptx
    assert "fma." not in ptx
    assert "div.rn.f32" in ptx


def test_files_are_the_same_wherever_they_are_compiled(tmp_path, monkeypatch):
    described = []
    for name in ("one", "two"):
        (folder := tmp_path / name).mkdir()
        monkeypatch.setenv("TRITON_CACHE_DIR", str(folder / "cache"))
        path = write(compile_ahead(FORMS["tick_update"], 80), folder)
        described.append(json.loads(path.read_text()))
        ptx = path.with_suffix(".ptx").read_text()
        assert str(tmp_path) not in ptx
        assert "update.py" not in ptx
    assert described[0] == described[1]
    assert described[0]["operands"][0] == {"name": "prediction", "type": "*fp16"}
    assert path.with_suffix(".cubin").stat().st_size > 0


def test_forms_are_told_apart_by_name():
    names = [form.name for form in forms((960, 480, 1920, 38400, 96, 100))]
    assert len(names) == len(set(names))
    assert {"td-rmsnorm-forward-fp16-whole1024-by16", "td-layernorm-backward-fp32-whole128"} <= set(
        names
    )


def test_widths_of_one_class_share_a_form():
    narrow, wide = (forward_form(Norm.TD_RMSNORM, torch.float16, width) for width in (528, 960))
    assert narrow == wide


def test_other_targets_norms_and_types_are_refused():
    with pytest.raises(TargetUnfit, match="capability: got 75; allowed: 80, 90, 120"):
        compile_ahead(FORMS["tick_update"], 75)
    with pytest.raises(TargetUnfit, match="norm: got rmsnorm; allowed: td-layernorm, td-rmsnorm"):
        forward_form(Norm.RMSNORM, torch.float16, 8)
    with pytest.raises(TargetUnfit, match=r"dtype: got torch\.float64; allowed"):
        update_form(Prediction.NOISE, torch.float64)


def test_an_interpreting_process_does_not_compile():
    script = (
        "from export.kernels.ahead import compile_ahead, parameters_form\n"
        "try: compile_ahead(parameters_form(), 80)\n"
        "except ValueError as refused: print(refused)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={"TRITON_INTERPRET": "1", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.startswith("TRITON_INTERPRET: got 1; allowed: unset")


def test_without_triton_the_error_says_what_to_install(tmp_path):
    script = (
        "import sys; sys.modules['triton'] = None\n"
        "from export.kernels.training import main\n"
        "try: import export.kernels.td_norm\n"
        "except ImportError as absent: print(absent)\n"
        f"sys.exit(main(['emoji-32', '--data', 'none', '--out', '{tmp_path}/run']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    install = "Triton is not installed; run: pip install 'dimr-serve[triton]'"
    assert done.stdout == f"{install}\n"
    assert install in done.stderr
    assert done.stderr.startswith("dimr-train: Triton's kernels are not for device ")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
