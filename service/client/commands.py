"""What each subcommand does, given a connection and parsed arguments.

Results go to stdout, plainly, for people and scripts alike; progress goes to stderr.
"""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from service.client.connection import Connection, new_key
from service.client.documents import Job, Model
from service.client.errors import InputInvalid, JobEnded

POLL_S = 0.2
MAX_SLUG = 50  # characters of a prompt in a file name: at most 200 of a file system's 255 bytes
TERMINAL = ("succeeded", "failed", "cancelled", "expired")


@dataclass(frozen=True, slots=True)
class Commands:
    """The subcommands.

    Attributes:
        connection: to the server.
        write: prints one line of a result.
        progress: where progress bars go.
        sleep: how to wait between looks at a job.
    """

    connection: Connection
    write: Callable[[str], None]
    progress: Console
    sleep: Callable[[float], None] = time.sleep

    def list_models(self) -> None:
        """One line a model."""
        for model in self.connection.models():
            self.write(_summary(model))

    def show_model(self, model_id: str) -> None:
        """A model's facts and its classes, one a line."""
        model = self.connection.model(model_id)
        self.write(_summary(model))
        if model["description"]:
            self.write(model["description"])
        for entry in model["classes"]:
            names = ", ".join([entry["name"], *entry["aliases"]])
            self.write(f"{entry['index']:5d}  {names}")

    def generate(self, body: Mapping[str, object], folder: Path) -> None:
        """Submit a job, watch it, write its images and print their paths.

        An interrupt cancels the job, even one that came before the server's answer did.

        Raises:
            InputInvalid: the folder cannot be written to.
            JobEnded: the job ended without images.
        """
        _prepare(folder)
        key = new_key()
        try:
            job = self._watched(self.connection.submit(body, key))
        except KeyboardInterrupt:
            self.connection.abandon(body, key)
            raise
        self._write_images(job, folder)

    def submit(self, body: Mapping[str, object]) -> None:
        """Submit a job and print its identifier."""
        self.write(self.connection.submit(body, new_key())["id"])

    def status(self, job_id: str) -> None:
        """Print a job as JSON."""
        self.write(json.dumps(self.connection.job(job_id), indent=2, ensure_ascii=False))

    def cancel(self, job_id: str) -> None:
        """Cancel a job and print the status it has now."""
        self.write(self.connection.cancel(job_id)["status"])

    def fetch(self, job_id: str, folder: Path) -> None:
        """Write the images of a job that has succeeded and print their paths.

        Raises:
            InputInvalid: the folder cannot be written to.
            JobEnded: the job has no images, or none yet.
        """
        job = self.connection.job(job_id)
        _prepare(folder)
        self._write_images(job, folder)

    def _watched(self, job: Job) -> Job:
        """The job when it has ended; a bar shows how far it is."""
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self.progress, transient=True) as progress:
            bar = progress.add_task(_stage(job), total=1.0)
            while job["status"] not in TERMINAL:
                self.sleep(POLL_S)
                job = self.connection.job(job["id"])
                progress.update(
                    bar, description=_stage(job), completed=job["progress"], refresh=True
                )
        return job

    def _write_images(self, job: Job, folder: Path) -> None:
        for warning in job["warnings"]:
            self.progress.print(
                f"warning: {warning}", markup=False, highlight=False, soft_wrap=True
            )
        if job["status"] != "succeeded":
            raise JobEnded(job["id"], job["status"], job["error"])
        suffix = job["parameters"]["output_format"]
        for image in job["images"]:
            data = self.connection.image(job["id"], image["index"], f"image/{suffix}")
            path = folder / f"{_slug(_subject(job))}-{image['seed']}.{suffix}"
            try:
                path.write_bytes(data)
            except OSError as error:
                msg = f"--out: cannot write {path}: {error.strerror}"
                raise InputInvalid(msg) from error
            self.write(str(path))


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"--out: got {str(folder)!r}; allowed: a folder ({error.strerror})"
        raise InputInvalid(msg) from error


def _summary(model: Model) -> str:
    defaults, limits = model["defaults"], model["limits"]
    sizes = ", ".join(f"{side}x{side}" for side in model["sizes"])
    if len(model["sizes"]) > 1:
        sizes += f" (default {defaults['size']}x{defaults['size']})"
    classes = f", {len(model['classes'])} classes" if model["classes"] else ""
    return (
        f"{model['id']}: {' and '.join(model['conditioning'])} to {sizes}{classes}; "
        f"samplers {', '.join(model['samplers'])} "
        f"(default {defaults['sampler']}); "
        f"steps {limits['min_steps']} to {limits['max_steps']} ({defaults['steps']}); "
        f"guidance {limits['min_guidance']:g} to {limits['max_guidance']:g} "
        f"({defaults['guidance']:g}); at most {limits['max_images']} images"
    )


def _stage(job: Job) -> str:
    """A job's status with what is known about the rest of its way."""
    ahead = "" if job["position"] is None else f", {job['position']} ahead"
    left = "" if not job["eta_s"] else f", about {job['eta_s']:.0f} s left"
    return f"{job['status']}{ahead}{left}"


def _subject(job: Job) -> str:
    parameters = job["parameters"]
    return parameters["class_name"] or parameters["prompt"] or ""


def _slug(name: str) -> str:
    return re.sub(r"\W+", "-", name.casefold())[:MAX_SLUG].strip("-") or "image"
