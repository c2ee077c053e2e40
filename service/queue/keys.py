"""Every Redis key, channel and limit of the queue, each with its reason.

All keys carry the hash tag `{dimr}`, so on a Redis Cluster they live in one slot and every
script may touch them all. The scripts get these names from `lua_header`, not from themselves.
"""

import hashlib

from service.queue.jobs import PRIORITIES

TAG = "{dimr}"

JOB = f"{TAG}:job:"  # + id -> hash: the job; kept for its TTL after the end, for ever before it
IMAGES = f"{TAG}:images:"  # + id -> hash: image index -> PNG bytes; one key, so one TTL
PREVIEWS = f"{TAG}:previews:"  # + id -> hash: image index -> PNG bytes, "index:calls" -> calls
# done; one preview an image, and only while it is drawn. Its TTL matters where nobody reaps.
EVENTS = f"{TAG}:events:"  # + id -> stream: what happened to the job, for resumable readers
IDEMPOTENCY = f"{TAG}:idempotency:"  # + digest -> hash: job id and body digest, as old as the job

STREAM = f"{TAG}:stream:"  # + model:priority -> stream: entries of queued and running jobs
STREAMS = f"{TAG}:streams"  # set: every stream there is, so that the reaper finds them
QUEUED = f"{TAG}:queued:"  # + model -> sorted set: queued jobs by priority, then by arrival
RUNNING = f"{TAG}:running:"  # + model -> set: running jobs
STEPS = f"{TAG}:steps"  # hash: model -> sample-steps of its queued jobs, what autoscalers ask for
SEQUENCE = f"{TAG}:sequence"  # counter: the order of arrival over all models
DEADLINES = f"{TAG}:deadlines"  # sorted set: unfinished jobs by the Unix second they expire
DEAD_LETTERS = f"{TAG}:dead"  # stream: jobs given up on, with the reason

WORKERS = f"{TAG}:workers"  # sorted set: worker ids by the Unix second their announcement ends
WORKER = f"{TAG}:worker:"  # + id -> hash: cards and rates; its TTL is the proof of life
MODELS = f"{TAG}:models"  # set: models ever announced, so that "unknown" and "unserved" differ

# Channels only speed things up: each reader also looks at the keys at bounded intervals.
WORK = f"{TAG}:work"  # a job became claimable; the message is its model
ENDED = f"{TAG}:ended"  # a job reached a terminal state; the message is its id
STOPPED = f"{TAG}:stopped"  # a running job was cancelled or expired; the message is its id

GROUP = "dimr"  # the one consumer group of every stream
HELD = "held"  # its consumer of running entries: their idle time is the age of the lease
RETURNED = "returned"  # its consumer of queued entries that ran before and keep their old place

EVENTS_KEPT = 1000  # per job; a job of 10 images at 50 steps, reported by the call, fits twice
DEAD_LETTERS_KEPT = 1000  # for a person to read; the oldest go first
REAPED_AT_ONCE = 100  # per stream and call; bounds how long one script blocks Redis
PRIORITY_SPAN = 2**50  # arrivals per priority; 3 * 2**50 still is an exact double


def idempotency(tenant: str, key: str) -> str:
    """Return the key of an idempotency record; hashed, since callers choose both parts."""
    digest = hashlib.sha256(f"{len(tenant)}:{tenant}{key}".encode()).hexdigest()
    return f"{IDEMPOTENCY}{digest}"


def lua_header() -> str:
    """Return the names above as Lua locals, to go in front of every script."""
    names = {
        name: value
        for name, value in globals().items()
        if name.isupper() and isinstance(value, str | int)
    }
    lines = [f"local {name} = {_lua(value)}" for name, value in names.items()]
    ranks = ", ".join(f"{priority} = {rank}" for rank, priority in enumerate(PRIORITIES))
    return "\n".join([*lines, f"local RANK = {{{ranks}}}", ""])


def _lua(value: str | int) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)
