"""From an HTTP request to an image and back, through real processes."""

import base64
import io
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from openai import OpenAI
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180), pytest.mark.xdist_group("service")]

ROOT = Path(__file__).parents[2]
MIXED = [
    {"class_label": label, "seed": seed, "steps": steps, "guidance": guidance, "sampler": sampler}
    for label, seed, steps, guidance, sampler in [
        ("tiger face", 1, 10, 1.0, "dpmpp_2m"),
        ("tiger face", 1, 20, 3.0, "dpmpp_2m"),
        ("red apple", 2, 50, 1.0, "dpmpp_3m"),
        ("cactus", 3, 50, 3.0, "dpmpp_2m"),
        (0, 4, 20, 1.0, "ddim"),
        ("pizza", 5, 10, 3.0, "dpmpp_3s"),
        ("panda", 6, 20, 1.0, "dpmpp_2s"),
        ("panda", 7, 10, 3.0, "dpmpp_2m"),
    ]
]


def draw(service, request, **options):
    url = f"{service.url}/v1/images/generations"
    answer = httpx.post(url, json=request, timeout=120, **options)
    assert answer.status_code == 200, answer.text
    return [base64.b64decode(image["b64_json"]) for image in answer.json()["data"]]


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def wait_for(service, job_id, statuses, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        answer = httpx.get(f"{service.url}/v1/jobs/{job_id}", timeout=30)
        if answer.status_code == 200 and answer.json()["status"] in statuses:
            return answer.json()
        time.sleep(0.05)
    pytest.fail(f"job {job_id}: {answer.text}")


def submit(service, **request):
    answer = httpx.post(f"{service.url}/v1/jobs", json=request)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def metric(service, name, **labels):
    text = httpx.get(f"{service.url}/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def accepted(service):
    """Jobs that the service took so far, of those that are not cancelled."""
    queued, running = metric(service, "dimr_queue_depth"), metric(service, "dimr_inflight")
    return queued + running + metric(service, "dimr_requests_total", outcome="ok")


def test_unlike_requests_at_once_give_what_each_gives_alone(service):
    with ThreadPoolExecutor(len(MIXED)) as pool:
        together = list(pool.map(lambda request: draw(service, request), MIXED))
    for request, images in zip(MIXED, together, strict=True):
        (alone,) = draw(service, request)
        np.testing.assert_array_equal(pixels(images[0]), pixels(alone))


def test_requests_really_share_ticks(service):
    calls = metric(service, "dimr_tick_batch_size_count")
    slots = metric(service, "dimr_tick_batch_size_sum")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda seed: draw(service, MIXED[3] | {"seed": seed}), range(4)))
    calls = metric(service, "dimr_tick_batch_size_count") - calls
    slots = metric(service, "dimr_tick_batch_size_sum") - slots
    assert slots == 4 * 50
    assert slots > 1.5 * calls


def test_image_k_of_a_request_is_the_image_of_its_own_seed(service):
    several = draw(service, MIXED[1] | {"n": 3, "seed": 40})
    for k, image in enumerate(several):
        (single,) = draw(service, MIXED[1] | {"seed": 40 + k})
        np.testing.assert_array_equal(pixels(image), pixels(single))


def test_the_public_client_gets_images_of_the_promised_size(service):
    client = OpenAI(base_url=f"{service.url}/v1", api_key="unused")
    answer = client.images.generate(
        model="emoji-32", prompt="red apple", n=2, extra_body={"seed": 1, "steps": 10}
    )
    images = [pixels(base64.b64decode(image.b64_json or "")) for image in answer.data or []]
    assert [image.shape for image in images] == [(32, 32, 3)] * 2
    assert "emoji-32" in [model.id for model in client.models.list()]


def test_a_red_apple_is_red_and_a_green_one_green(service):
    for name, channel in (("red apple", 0), ("green apple", 1)):
        images = draw(service, {"class_label": name, "seed": 1, "n": 4, "guidance": 2.0})
        means = np.mean([pixels(i)[10:24, 8:24].mean((0, 1)) for i in images], axis=0)
        assert means.argmax() == channel


def test_all_stages_are_measured(service):
    draw(service, MIXED[0])
    for name in ("queue_wait", "e2e", "tick", "stage"):
        assert metric(service, f"dimr_{name}_seconds_count", model="emoji-32") > 0
    for stage in ("admit", "denoise", "decode", "encode", "store"):
        assert metric(service, "dimr_stage_seconds_count", stage=stage) > 0
    assert metric(service, "dimr_queue_depth", model="emoji-32") == 0


def test_a_worker_killed_at_work_loses_nothing(start):
    with start(DIMR_LEASE_S="3") as service:
        job = submit(service, class_label="panda", seed=9, steps=100, n=4)
        wait_for(service, job, {"running"})
        (worker,) = service.children("service.worker")
        os.kill(worker, signal.SIGKILL)
        done = wait_for(service, job, {"succeeded", "failed"})
        assert (done["status"], len(done["images"])) == ("succeeded", 4)
        assert done["attempts"] == 2


def test_a_redis_killed_at_work_loses_nothing(start):
    with start() as service:
        job = submit(service, class_label="panda", seed=9, steps=100, n=4)
        wait_for(service, job, {"running"})
        time.sleep(1.1)  # what the append-only file may lag behind
        (redis,) = service.children("-server")
        os.kill(redis, signal.SIGKILL)
        deadline = time.monotonic() + 30
        while "started again" not in service.log:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done = wait_for(service, job, {"succeeded", "failed"})
        assert (done["status"], len(done["images"])) == ("succeeded", 4)


def test_what_is_queued_at_a_stop_is_served_after_the_next_start(start):
    with start(DIMR_DRAIN_S="0") as service:
        running = submit(service, class_label="frog", seed=1, steps=100, n=4)
        queued = [submit(service, class_label="frog", seed=s, steps=5) for s in range(3)]
        wait_for(service, running, {"running"})
        assert service.stop() == 0
    with start() as service:
        for job in (running, *queued):
            assert wait_for(service, job, {"succeeded", "failed"})["status"] == "succeeded"


def test_a_stop_answers_even_those_whose_turn_has_not_come(start):
    with start(DIMR_SLOTS="2") as service, ThreadPoolExecutor(8) as pool:
        request = {"class_label": "star", "steps": 20}
        answers = [pool.submit(draw, service, request | {"seed": s}) for s in range(8)]
        while accepted(service) < 8:
            time.sleep(0.05)
        assert service.stop() == 0
        assert all(len(answer.result()) == 1 for answer in answers)


def test_a_stop_that_cannot_wait_any_longer_says_so(start):
    with start(DIMR_DRAIN_S="1") as service, ThreadPoolExecutor(2) as pool:
        request = {"class_label": "star", "steps": 250, "n": 10}
        url = f"{service.url}/v1/images/generations"
        waiting = pool.submit(httpx.post, url, json=request, timeout=60)
        url, headers = f"{service.url}/v1/jobs", {"Prefer": "wait=50"}
        preferring = pool.submit(httpx.post, url, json=request, headers=headers, timeout=60)
        while metric(service, "dimr_tick_seconds_count") == 0:
            time.sleep(0.05)
        assert service.stop() == 0
        assert waiting.result().status_code == 503
        assert waiting.result().json()["error"]["code"] == "server_stopping"
        assert preferring.result().status_code == 202
        assert preferring.result().json()["status"] in {"queued", "running"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_leaves_no_process_behind_and_answers_what_runs(start, number):
    with start() as service:
        children = service.children("")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(draw, service, MIXED[3] | {"n": 2})
            while metric(service, "dimr_tick_seconds_count") == 0:
                time.sleep(0.05)
            assert service.stop(number) == 0
            assert len(answer.result()) == 2
    assert len(children) >= 3
    for pid in children:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("variable", "value"), [("DIMR_SLOTS", "0"), ("DIMR_BUNDLES", "nowhere"), ("DIMR_PROT", "1")]
)
def test_a_bad_setting_is_one_clear_line_and_a_non_zero_exit(tmp_path, variable, value):
    environment = {**os.environ, "DIMR_DATA_DIR": str(tmp_path), "DIMR_PORT": "1", variable: value}
    run = subprocess.run(
        [sys.executable, "-m", "service"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert variable in run.stderr or value in run.stderr
    assert "Traceback" not in run.stderr


def test_a_data_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    run = subprocess.run(
        [sys.executable, "-m", "service"],
        env={**os.environ, "DIMR_DATA_DIR": str(tmp_path / "file")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr.startswith("dimr-serve: DIMR_DATA_DIR: cannot make")


def test_the_commands_of_the_readme_work(service, tmp_path):
    readme = (ROOT / "README.md").read_text()
    shells = [b for b in re.findall(r"```bash\n(.*?)```", readme, re.S) if b.startswith("curl")]
    (snippet,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    for command in (*(["bash", "-ec", shell] for shell in shells), [sys.executable, "-c", snippet]):
        local = [part.replace("http://127.0.0.1:8000", service.url) for part in command]
        subprocess.run(local, cwd=tmp_path, check=True, timeout=60)
    sides = {path.name: pixels(path.read_bytes()).shape[0] for path in tmp_path.glob("*.png")}
    assert sides == {"tiger.png": 32, "apple.png": 64, "apple-0.png": 32, "apple-1.png": 32}
