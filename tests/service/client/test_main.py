"""`dimr-client` against a real server."""

import asyncio
import json
import re
import signal
import sys

import pytest

from service.client.__main__ import main
from service.images import read_provenance


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the client beside the server and gives its exit status, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "100")

    async def run_with(url, *arguments):
        monkeypatch.setenv("DIMR_URL", url)
        status = await asyncio.to_thread(main, arguments)
        return status, *capsys.readouterr()

    return run_with


async def test_generate_writes_images_named_by_class_and_seed(run, server_url, drawer, tmp_path):
    folder = tmp_path / "new" / "images"
    status, out, _ = await run(
        server_url,
        *("generate", "a tiger face", "-n", "2", "--seed", "7", "--steps", "5"),
        *("--guidance", "2", "--sampler", "ddim", "--out", str(folder)),
    )
    assert status == 0
    paths = [folder / "tiger-face-7.png", folder / "tiger-face-8.png"]
    assert out.splitlines() == [str(path) for path in paths]
    seen = [read_provenance(path.read_bytes()) for path in paths]
    assert [provenance.seed for provenance in seen] == [7, 8]
    assert (seen[0].steps, seen[0].guidance, seen[0].sampler) == (5, 2, "ddim")


@pytest.mark.parametrize("class_label", ["3", "PIÑATA"])
async def test_a_class_is_named_by_index_or_name(run, server_url, drawer, tmp_path, class_label):
    status, out, _ = await run(
        server_url,
        *("generate", "--class", class_label, "--seed", "1", "--format", "webp"),
        *("--compression", "50", "--out", str(tmp_path)),
    )
    assert status == 0
    assert out.splitlines() == [str(tmp_path / "piñata-1.webp")]
    assert (tmp_path / "piñata-1.webp").read_bytes()[8:12] == b"WEBP"


async def test_a_job_is_submitted_watched_and_fetched_by_its_id(run, server_url, drawer, tmp_path):
    drawer.may_draw.clear()
    _, out, _ = await run(server_url, "submit", "tiger", "--seed", "3", "--priority", "high")
    job_id = out.strip()
    claimed = await drawer.claimed.get()
    assert (claimed.id, claimed.priority) == (job_id, "high")
    status, out, err = await run(server_url, "fetch", job_id, "--out", str(tmp_path))
    assert (status, out, err) == (1, "", f"dimr-client: job {job_id} is running\n")
    assert await drawer.draw(claimed)
    _, out, _ = await run(server_url, "status", job_id)
    assert json.loads(out)["status"] == "succeeded"
    status, out, _ = await run(server_url, "fetch", job_id, "--out", str(tmp_path))
    assert (status, out.strip()) == (0, str(tmp_path / "tiger-face-3.png"))


async def test_a_job_is_cancelled_by_its_id(run, server_url, served):
    _, out, _ = await run(server_url, "submit", "tiger", "--deadline", "60")
    for _ in range(2):
        assert await run(server_url, "cancel", out.strip()) == (0, "cancelled\n", "")


async def test_models_are_listed_and_shown_with_their_classes(run, server_url, served, card):
    status, out, _ = await run(server_url, "models")
    assert status == 0
    assert out.startswith(f"{card.id}: class to 32x32, 4 classes; samplers ddim, dpmpp_2m")
    _, out, _ = await run(server_url, "models", card.id)
    assert "    0  tiger face, tiger" in out.splitlines()
    assert len(out.splitlines()) == 6
    assert out.splitlines()[1] == card.description


async def test_a_job_that_fails_ends_with_its_reason(run, server_url, drawer, tmp_path):
    drawer.may_draw.clear()
    asking = asyncio.create_task(run(server_url, "generate", "tiger", "--out", str(tmp_path)))
    job = await drawer.claimed.get()
    await drawer.leases.fail(job, "the engine caught fire")
    status, out, err = await asking
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == f"dimr-client: job {job.id} is failed: the engine caught fire"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("generate", "tigerr face"), "prompt: .*nearest: tiger face"),
        (("generate", "tiger", "--steps", "1000"), "steps: got 1000; allowed: .* 1 to 100"),
        (("submit",), "class_label"),
        (("submit", "tiger", "--model", "other"), "model: .*emoji-test"),
        (("status", "no such id"), "no job 'no such id'"),
        (("status", ""), "Not Found"),
        (("cancel", "unknown"), "no job 'unknown'"),
        (("models", "other"), "emoji-test"),
    ],
)
async def test_what_the_server_refuses_is_one_line_and_status_2(
    run, server_url, served, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    status, out, err = await run(server_url, *arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"dimr-client: .*{said}.*\n", err)


async def test_a_folder_that_cannot_be_is_refused_before_a_job_is_queued(
    run, server_url, drawer, tmp_path
):
    (tmp_path / "file").touch()
    status, _, err = await run(server_url, "generate", "tiger", "--out", str(tmp_path / "file"))
    assert status == 2
    assert err.startswith("dimr-client: --out: got")
    assert err.count("\n") == 1
    assert drawer.claimed.empty()


async def test_a_file_that_cannot_be_written_is_one_line_and_status_2(
    run, server_url, drawer, tmp_path
):
    (tmp_path / "tiger-face-7.png").mkdir()
    arguments = ("generate", "tiger", "--seed", "7", "--out", str(tmp_path))
    status, _, err = await run(server_url, *arguments)
    assert status == 2
    assert err.splitlines()[-1].startswith("dimr-client: --out: cannot write")


@pytest.mark.slow
async def test_an_interrupt_cancels_the_job_and_is_status_130(server_url, drawer, tmp_path):
    drawer.may_draw.clear()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.client", "--url", server_url),
        *("generate", "tiger", "--out", str(tmp_path)),
        stderr=asyncio.subprocess.PIPE,
        # a test run in the background of a shell ignores interrupts, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    job = await drawer.claimed.get()
    await asyncio.sleep(0.5)  # the answer to the submission is in, and the client watches the job
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130, err.decode()
    assert err.decode().splitlines()[-1] == "dimr-client: interrupted"
    assert await drawer.leases.renew([job]) == [job.id]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:8000", "http://[::", "ftp://x"])
async def test_a_server_that_is_not_there_is_one_line_and_status_3(run, url):
    status, out, err = await run(url, "models")
    assert (status, out) == (3, "")
    assert err.startswith(f"dimr-client: {url} does not answer")
    assert err.count("\n") == 1


async def test_a_server_that_stays_busy_is_status_3(run, make_server):
    status, _, err = await run(await make_server(), "--patience", "0", "submit", "tiger")
    assert status == 3
    assert err == "dimr-client: no live worker serves any model at the moment\n"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0\r\n",
    ],
)
async def test_a_server_of_another_kind_is_one_line_and_status_3(run, answer):
    async def reply(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(reply, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        status, out, err = await run(f"http://127.0.0.1:{port}", "models")
    assert (status, out) == (3, "")
    assert err.startswith("dimr-client: http://127.0.0.1")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("draw",),
        ("status",),
        ("generate", "-n", "many"),
        ("generate", "--guidance", "nan"),
        ("--patience", "inf", "models"),
    ],
)
def test_usage_errors_are_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "dimr-client" in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    for word in ("examples", "DIMR_URL", "exit status", "generate", "fetch"):
        assert word in out


async def test_the_option_goes_before_the_environment(run, server_url, served):
    status, out, _ = await run("http://127.0.0.1:1", "--url", server_url, "models")
    assert status == 0
    assert "emoji-test" in out


async def test_a_prompt_is_drawn_by_the_model_named_and_its_warnings_go_to_stderr(
    run, server_url, prompt_drawer, tmp_path
):
    prompt_drawer.may_draw.clear()
    arguments = ("generate", "A red [apple], and " + "more " * 99, "--model", "text-test")
    options = ("--size", "16x16", "--seed", "3", "--out", str(tmp_path))
    running = asyncio.create_task(run(server_url, *arguments, *options))
    job = await prompt_drawer.claimed.get()
    assert (job.request.model, job.request.size) == ("text-test", 16)
    await prompt_drawer.leases.warn(job, ["prompt: has 104 tokens; the model reads [16]"])
    prompt_drawer.may_draw.set()
    status, out, err = await running
    assert status == 0
    assert err.strip() == "warning: prompt: has 104 tokens; the model reads [16]"
    path = tmp_path / "a-red-apple-and-more-more-more-more-more-more-more-3.png"
    assert out.splitlines() == [str(path)]
    assert read_provenance(path.read_bytes()).prompt == arguments[1].strip()


async def test_models_of_prompts_are_listed_with_their_sizes(run, server_url, both_served):
    _, out, _ = await run(server_url, "models")
    line = "text-test: prompt to 16x16, 32x32, 64x64 (default 64x64); samplers ddim, dpmpp_2m"
    assert out.splitlines()[1].startswith(line)
