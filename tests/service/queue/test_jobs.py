import re
import time

import pytest
from pydantic import ValidationError

from service.queue.jobs import PRIORITIES, Job, JobStatus, new_job_id


def test_a_job_id_is_url_safe_and_of_fixed_length() -> None:
    assert re.fullmatch(r"[0-9a-z]{26}", new_job_id(time.time()))


def test_job_ids_sort_by_the_millisecond_they_were_made_in() -> None:
    ids = [new_job_id(1_700_000_000 + k / 1000) for k in range(200)]

    assert ids == sorted(ids)


def test_job_ids_of_one_instant_all_differ() -> None:
    assert len({new_job_id(1_700_000_000.0) for _ in range(1000)}) == 1000


def test_only_queued_and_running_jobs_may_still_change() -> None:
    open_states = {status for status in JobStatus if not status.terminal}

    assert open_states == {JobStatus.QUEUED, JobStatus.RUNNING}


def test_a_job_is_read_back_from_its_hash_whatever_else_the_hash_holds(request_of) -> None:
    request = request_of(prompt="ein Bär, „blau“", quality=80, format="webp")
    fields = {
        b"id": b"j1",
        b"request": request.model_dump_json().encode(),
        b"priority": PRIORITIES[0].encode(),
        b"cost": b"40",
        b"status": b"running",
        b"created_at": b"1700000000.250000",
        b"attempts": b"2",
        b"claims": b"3",
        b"entry": b"1-0",
    }

    job = Job.from_hash(fields)

    assert job.request == request
    assert (job.status, job.priority, job.cost) == (JobStatus.RUNNING, "high", 40)
    assert (job.created_at, job.attempts, job.claims) == (1_700_000_000.25, 2, 3)
    assert job.deadline_at is None


def test_a_job_of_the_version_before_prompts_is_read(request_of) -> None:
    before = (
        b'{"model":"emoji","label":3,"class_name":"cat","prompt":"a cat","n":1,"seed":7,'
        b'"steps":10,"sampler":"dpm++","guidance":2.0,"size":64,"format":"png","quality":null}'
    )
    job = Job.from_hash({b"id": b"j1", b"request": before, b"cost": b"2", b"created_at": b"1.0"})

    assert (job.request.condition, job.request.subject, job.warnings) == (3, "cat", ())
    assert job.request == request_of(prompt="a cat")


def test_a_request_is_of_a_class_or_else_of_a_prompt(request_of) -> None:
    assert request_of(label=0, prompt="a dragon").condition == 0
    of_prompt = request_of(label=None, class_name=None, prompt="")
    assert (of_prompt.condition, of_prompt.subject) == ("", "")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"label": None, "class_name": None}, "label, prompt: got neither"),
        ({"label": None, "prompt": "a cat"}, "class_name: got 'cat' with label None"),
        ({"class_name": None}, "class_name: got None with label 3"),
    ],
)
def test_a_request_without_one_condition_is_refused(request_of, fields, named) -> None:
    with pytest.raises(ValidationError, match=named):
        request_of(**fields)
