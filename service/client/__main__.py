"""dimr-client: ask a dimr-serve server for images from the command line."""

import argparse
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from service.client.commands import Commands
from service.client.connection import Connection
from service.client.errors import ClientError

DEFAULT_URL = "http://127.0.0.1:8000"
INTERRUPTED = 130  # as shells report a command that SIGINT ended

_DESCRIPTION = "Ask a dimr-serve server for images."
_EPILOG = """\
examples:
  dimr-client models
  dimr-client generate "tiger face" -n 4 --seed 7 --out images
  dimr-client generate "a red apple" --model emoji-layered-64 --size 32x32
  dimr-client generate --class 12 --steps 30 --guidance 2 --format webp
  id=$(dimr-client submit "tiger face") && dimr-client status "$id"
  dimr-client fetch "$id" --out images

environment:
  DIMR_URL  address of the server where --url is not given

exit status: 0 done; 1 the job ended without images; 2 the request cannot be served as it is;
3 the server cannot be reached, failed, or stayed busy; 130 interrupted, the job is cancelled."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with Connection(options.url, patience_s=options.patience) as connection:
            _run(Commands(connection, print, Console(stderr=True)), options)
    except ClientError as error:
        print(f"dimr-client: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("dimr-client: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


def _run(commands: Commands, options: argparse.Namespace) -> None:
    match options.command:
        case "models" if options.model is None:
            commands.list_models()
        case "models":
            commands.show_model(options.model)
        case "generate":
            commands.generate(_body(options), options.out)
        case "submit":
            commands.submit(_body(options))
        case "status":
            commands.status(options.job_id)
        case "cancel":
            commands.cancel(options.job_id)
        case _:
            commands.fetch(options.job_id, options.out)


def _body(options: argparse.Namespace) -> dict[str, object]:
    """The request that the options describe; what is not given is left to the server."""
    fields = {
        "prompt": options.prompt,
        "class_label": options.class_label,
        "model": options.model,
        "n": options.n,
        "seed": options.seed,
        "steps": options.steps,
        "guidance": options.guidance,
        "sampler": options.sampler,
        "size": options.size,
        "output_format": options.format,
        "output_compression": options.compression,
        "priority": options.priority,
        "deadline_s": options.deadline,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dimr-client",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("DIMR_URL") or DEFAULT_URL,
        help=f"address of the server; default: DIMR_URL or {DEFAULT_URL}",
    )
    parser.add_argument(
        "--patience",
        type=_finite,
        default=60.0,
        metavar="SECONDS",
        help="how long a busy server may put a request off; default: 60",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    request, job, out = _request_options(), _job_options(), _out_options()

    models = commands.add_parser("models", help="list models, or show one with its classes")
    models.add_argument("model", nargs="?", help="model id")
    commands.add_parser(
        "generate", parents=[request, out], help="submit a job, wait, and write its images"
    )
    commands.add_parser("submit", parents=[request], help="submit a job and print its id")
    commands.add_parser("status", parents=[job], help="print a job as JSON")
    commands.add_parser("cancel", parents=[job], help="cancel a job and print its status")
    commands.add_parser("fetch", parents=[job, out], help="write the images of a finished job")
    return parser


def _request_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    add = options.add_argument
    add(
        "prompt",
        nargs="?",
        help="what to draw: any text for a model that draws from prompts, else a class by name",
    )
    add(
        "--class",
        dest="class_label",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="CLASS",
        help="what to draw, by index or name, for a model with classes",
    )
    add("--model", help="model id; default: the first that can draw what is asked for")
    add("-n", type=int, metavar="IMAGES", help="number of images; default: 1")
    add("--seed", type=int, help="of the first image; the next ones count up; default: random")
    add("--steps", type=int, help="network calls per image; more is slower and finer")
    add("--guidance", type=_finite, help="classifier-free guidance; 1 for none")
    add("--sampler", help="one of the model's samplers")
    add("--size", help="one of the model's, such as 32x32; default: see `dimr-client models`")
    add("--format", help="png, webp or jpeg; default: png")
    add("--compression", type=int, metavar="QUALITY", help="0 to 100, of webp and jpeg")
    add("--priority", help="high, normal or low; default: normal")
    add("--deadline", type=_finite, metavar="SECONDS", help="give up after this long")
    return options


def _finite(text: str) -> float:
    """A number that JSON can carry."""
    number = float(text)
    if not math.isfinite(number):
        msg = f"got {text}; allowed: a finite number"
        raise argparse.ArgumentTypeError(msg)
    return number


def _job_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument("job_id", metavar="JOB", help="job id, as submit prints it")
    return options


def _out_options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(add_help=False)
    options.add_argument(
        "--out",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where to write WHAT-SEED.FORMAT; default: here",
    )
    return options


if __name__ == "__main__":
    sys.exit(main())
