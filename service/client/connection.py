"""Requests to a server: its errors in one line each, and patience while it is busy."""

import time
import uuid
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import quote

import httpx

from service.client.documents import Job, Model
from service.client.errors import Refused, ServerFailed, Unreachable

TIMEOUT_S = 30.0
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
DEFAULT_RETRY_S = 1  # where a busy server does not say when to come back


class Connection:
    """Talks to one server. Every method raises `Unreachable`, `Refused` or `ServerFailed`."""

    def __init__(
        self, url: str, *, patience_s: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            url: base address, such as http://127.0.0.1:8000.
            patience_s: seconds that one request may spend on waiting for a busy server, by the
                server's own Retry-After.
            sleep: how to wait.

        Raises:
            Unreachable: the address is none.
        """
        self._url = url
        self._patience_s = patience_s
        self._sleep = sleep
        try:
            self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        except httpx.InvalidURL as error:
            raise Unreachable(url, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    def models(self) -> list[Model]:
        """The models that are served."""
        return cast("list[Model]", self._json("GET", "/v1/models")["data"])

    def model(self, model_id: str) -> Model:
        """One model's card."""
        return cast("Model", self._json("GET", f"/v1/models/{quote(model_id, safe='')}"))

    def submit(self, body: Mapping[str, object], key: str) -> Job:
        """Queue a job, once for each key however often it is sent."""
        headers = {"Idempotency-Key": key}
        return cast("Job", self._json("POST", "/v1/jobs", json=body, headers=headers))

    def abandon(self, body: Mapping[str, object], key: str) -> None:
        """Cancel what `submit` may have queued: the same key leads to the same job."""
        headers = {"Idempotency-Key": key}
        response = self._sent("POST", "/v1/jobs", json=body, headers=headers)
        if response.is_success:  # else there is no job, and none is wanted
            self.cancel(response.json()["id"])

    def job(self, job_id: str) -> Job:
        """A job as it stands."""
        return cast("Job", self._json("GET", _path(job_id)))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; one that has ended comes back as it ended."""
        return cast("Job", self._json("DELETE", _path(job_id)))

    def image(self, job_id: str, index: int, media_type: str) -> bytes:
        """The bytes of one image in the format of this media type."""
        path = f"{_path(job_id)}/images/{index}"
        return self._patiently("GET", path, headers={"Accept": media_type}).content

    def _json(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        response = self._patiently(method, path, json=json, headers=headers)
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            msg = f"{self._url} does not speak this protocol: {method} {path} gave no JSON object"
            raise ServerFailed(msg)
        return answer

    def _patiently(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a request, and again as long as the server is busy and patience lasts."""
        left_s = self._patience_s
        while True:
            response = self._sent(method, path, json=json, headers=headers)
            wait_s = _retry_after_s(response)
            if response.status_code not in BUSY or wait_s > left_s:
                return _checked(response)
            left_s -= wait_s
            self._sleep(wait_s)

    def _sent(
        self,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None,
        headers: Mapping[str, str] | None,
    ) -> httpx.Response:
        try:
            return self._http.request(method, path, json=json, headers=headers)
        except httpx.HTTPError as error:
            raise Unreachable(self._url, str(error)) from error


def new_key() -> str:
    """A key for `Connection.submit` that nobody else uses."""
    return uuid.uuid4().hex


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _retry_after_s(response: httpx.Response) -> int:
    """The server's wish in seconds, at least 1, so that patience runs out."""
    given = response.headers.get("retry-after", "")
    return max(1, int(given)) if given.isdecimal() else DEFAULT_RETRY_S


def _checked(response: httpx.Response) -> httpx.Response:
    """Let successes through and turn errors into exceptions with the server's own words."""
    if response.is_success:
        return response
    detail = _detail(response)
    if response.is_client_error and response.status_code not in BUSY:
        raise Refused(detail)
    raise ServerFailed(detail)


def _detail(response: httpx.Response) -> str:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "detail" in problem:
        return " ".join(str(problem["detail"]).split())
    return f"{response.url} answered {response.status_code} {response.reason_phrase}"
