import re
import time

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
