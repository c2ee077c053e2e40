import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def interpret(tmp_path_factory):
    """Runs cases in Triton's interpreter, all in one process, and returns their results."""
    folder = tmp_path_factory.mktemp("interpreter")

    def run(cases):
        torch.save(cases, folder / "cases")
        script = Path(__file__).with_name("in_interpreter.py")
        command = [sys.executable, str(script), str(folder / "cases"), str(folder / "results")]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert done.returncode == 0, done.stderr
        return torch.load(folder / "results", weights_only=False)

    return run


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Triton's compiler, with a cache of its own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "triton"))
