"""dimr-evaluate as a whole."""

import pytest

from model.evaluation.__main__ import main

COMMANDS = ("small", "sample", "compare", "distortion", "adaln")


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n    {command}" in shown


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  dimr-evaluate {command} " in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [([], "COMMAND"), (["deploy/models/emoji-32"], "small"), (["small"], "BUNDLE")],
)
def test_what_is_no_command_is_one_clear_line(arguments, named, capsys):
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("dimr-evaluate: ")
    assert named in lines[0]
