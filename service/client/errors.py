"""Everything the client says no with; `dimr-client` prints the message and exits with the status.

ClientError
├── JobEnded          the job ended without images          -> 1
├── Refused           the server refused what was asked     -> 2
├── InputInvalid      refused before anything was sent      -> 2
├── ServerFailed      the server failed, or stayed busy     -> 3
└── Unreachable       no answer                             -> 3
"""

from typing import ClassVar


class ClientError(Exception):
    """Base class; the message is one line."""

    exit_status: ClassVar[int]


class JobEnded(ClientError):
    """The job failed, expired or was cancelled, or is not done where it should be."""

    exit_status = 1

    def __init__(self, job_id: str, status: str, reason: str | None) -> None:
        super().__init__(f"job {job_id} is {status}" + (f": {reason}" if reason else ""))


class Refused(ClientError):
    """The server answered with a client error; the message is the server's own."""

    exit_status = 2


class InputInvalid(ClientError):
    """An argument cannot be used."""

    exit_status = 2


class ServerFailed(ClientError):
    """The server answered with an error of its own, or was busy for longer than patience lasts."""

    exit_status = 3


class Unreachable(ClientError):
    """The server cannot be reached, or stopped answering."""

    exit_status = 3

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} does not answer: {reason or 'no reason given'}")
