"""Everything the service raises on purpose.

ServiceError
├── RequestRejected      the caller can fix it              -> 422
├── FieldsRejected       several such fields at once        -> 422
├── QueueFull            the caller can retry later         -> 429
├── JobNotFound          unknown or expired job id          -> 404
├── ImageNotReady        the job has no such image (yet)    -> 404
├── PreviewNotReady      the job has no such preview now    -> 404
├── JobCancelled         somebody ended the job             -> 409
├── JobFailed            no attempt at the job succeeded    -> 500
├── WaitTimedOut         the service's bound on waiting     -> 504
├── WaitCutShort         the server stops                   -> 503
├── IdempotencyClash     the key was used for another body  -> 409
├── ModelUnknown         nobody ever served this model      -> 404
├── ModelUnserved        no live worker serves this model   -> 503
├── QueueUnavailable     Redis cannot be reached            -> 503
├── EmbeddedRedisFailed  the one-machine server won't run   -> exit 2
├── SettingsInvalid      the environment asks for nonsense  -> exit 2
└── EngineFault          ours; the worker restarts          -> job redelivered
"""

from collections.abc import Sequence


class ServiceError(Exception):
    """Base class; `service.api.errors` is the only place that turns one into a status code."""


class RequestRejected(ServiceError):
    """A field of the request holds a value that the model cannot serve."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        super().__init__(f"{field}: got {value!r}; allowed: {allowed}")
        self.field = field
        self.value = value
        self.allowed = allowed


class FieldsRejected(ServiceError):
    """One or more fields of a request are wrong; callers fix them all at once."""

    def __init__(self, rejections: Sequence[RequestRejected]) -> None:
        super().__init__("; ".join(map(str, rejections)))
        self.rejections = tuple(rejections)


class QueueFull(ServiceError):
    """Admission control refused the job; `retry_after_s` is an estimate in seconds."""

    def __init__(self, model: str, depth: int, limit: int, retry_after_s: float) -> None:
        super().__init__(
            f"the queue of {model} holds {depth} of at most {limit} jobs; "
            f"retry in {retry_after_s:.0f} s"
        )
        self.model = model
        self.depth = depth
        self.limit = limit
        self.retry_after_s = retry_after_s


class JobNotFound(ServiceError):
    """No such job, or it outlived its time to live."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"no job {job_id!r}: never submitted here, or its results have expired")
        self.job_id = job_id


class ImageNotReady(ServiceError):
    """The job exists but does not hold this image, now or ever."""

    def __init__(self, job_id: str, index: int, why: str) -> None:
        super().__init__(f"job {job_id} has no image {index}: {why}")
        self.job_id = job_id
        self.index = index


class PreviewNotReady(ServiceError):
    """The job exists but holds no preview of this image at the moment."""

    def __init__(self, job_id: str, index: int, why: str) -> None:
        super().__init__(f"job {job_id} has no preview of image {index}: {why}")
        self.job_id = job_id
        self.index = index


class JobCancelled(ServiceError):
    """The job was cancelled while somebody waited for its images."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} was cancelled")
        self.job_id = job_id


class JobFailed(ServiceError):
    """The job used up its attempts, or broke the engine."""

    def __init__(self, job_id: str, reason: str) -> None:
        super().__init__(f"job {job_id} failed: {reason}")
        self.job_id = job_id


class WaitTimedOut(ServiceError):
    """A caller waited as long as the service lets callers wait; the job has been given up."""

    def __init__(self, job_id: str, waited_s: float) -> None:
        super().__init__(
            f"job {job_id} was not finished within {waited_s:g} s and has been given up; "
            "POST /v1/jobs has no such bound"
        )
        self.job_id = job_id


class WaitCutShort(ServiceError):
    """The server stops before the job of a waiting caller was done; the job has been given up."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"the server stops; job {job_id} was not finished and has been given up")
        self.job_id = job_id


class IdempotencyClash(ServiceError):
    """The same Idempotency-Key came with a different request."""

    def __init__(self, key: str, job_id: str) -> None:
        super().__init__(
            f"Idempotency-Key {key!r} already belongs to job {job_id} with other content"
        )
        self.key = key
        self.job_id = job_id


class ModelUnknown(ServiceError):
    """No worker, alive or recently alive, has announced this model."""

    def __init__(self, model: str, known: Sequence[str]) -> None:
        super().__init__(f"model: got {model!r}; allowed: {', '.join(known) or 'none are served'}")
        self.model = model
        self.known = tuple(known)


class ModelUnserved(ServiceError):
    """No worker is alive to serve the request now."""

    def __init__(self, model: str | None) -> None:
        super().__init__(f"no live worker serves {model or 'any model'} at the moment")
        self.model = model


class QueueUnavailable(ServiceError):
    """Redis refused or dropped the connection."""


class EmbeddedRedisFailed(ServiceError):
    """The embedded redis-server is missing, locked out of its folder, or did not start."""


class SettingsInvalid(ServiceError):
    """A `DIMR_*` variable holds a value that cannot be used."""


class EngineFault(ServiceError):
    """The engine raised; its device state is unknown and the worker process exits."""
