"""The promises of the scheduling policy, checked over arbitrary histories."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.worker.scheduler import STARVATION_TICKS, Item, Scheduler


def item(job="a", index=0, rows=(2, 2), arrived=0.0, **rest):
    return Item(job, index, list(rows), arrived, **rest)


def run_to_end(scheduler, now=10.0, ticks=10_000):
    """Tick until idle; returns the jobs in the order in which their images finished."""
    finished: list[str] = []
    for _ in range(ticks):
        if scheduler.idle:
            return finished
        scheduler.admit(now)
        slots = scheduler.select()
        scheduler.advance(slots)
        for slot in slots:
            held = scheduler.running[slot]
            if held.done == len(held.plan):
                finished.append(scheduler.retire(slot).job_id)
    pytest.fail("the scheduler never became idle")


def test_unlike_requests_share_a_tick_and_leave_it_one_by_one():
    scheduler = Scheduler(4, 8)
    for job, rows in (("long", [2] * 50), ("short", [2] * 10), ("plain", [1] * 20)):
        scheduler.submit(item(job, rows=rows))
    scheduler.admit(0.0)
    assert len(scheduler.select()) == 3
    assert run_to_end(scheduler) == ["short", "plain", "long"]


def test_a_late_image_joins_at_the_next_tick():
    scheduler = Scheduler(2, 4)
    scheduler.submit(item("early", rows=[2] * 100))
    scheduler.admit(0.0)
    scheduler.advance(scheduler.select())
    scheduler.submit(item("late", rows=[2]))
    assert [i.job_id for _, i in scheduler.admit(0.0)] == ["late"]
    assert len(scheduler.select()) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (item("x", priority=0, arrived=9.0), item("y", priority=1, arrived=0.0)),
        (item("x", deadline=5.0, arrived=9.0), item("y", deadline=6.0, arrived=0.0)),
        (item("x", deadline=5.0, arrived=9.0), item("y", arrived=0.0)),
        (item("x", arrived=1.0), item("y", arrived=2.0)),
    ],
)
def test_admission_goes_by_priority_then_deadline_then_age(first, second):
    scheduler = Scheduler(1, 2)
    scheduler.submit(second)
    scheduler.submit(first)
    assert [i.job_id for _, i in scheduler.admit(10.0)] == ["x"]


def test_tenants_share_by_work_and_not_by_requests():
    scheduler = Scheduler(1, 2)
    for k in range(4):
        scheduler.submit(item(f"heavy{k}", rows=[2] * 30, tenant="heavy", arrived=0.0))
    for k in range(4):
        scheduler.submit(item(f"light{k}", rows=[1] * 5, tenant="light", arrived=1.0))
    order = run_to_end(scheduler)
    assert order[0] == "heavy0"
    assert order[1:5] == ["light0", "light1", "light2", "light3"]


def test_rows_are_charged_and_compared_by_what_they_cost():
    scheduler = Scheduler(1, 2)
    for k in range(2):
        scheduler.submit(item(f"large{k}", rows=[2] * 10, tenant="large", arrived=0.0))
    for k in range(5):
        small = item(f"small{k}", rows=[2] * 20, tenant="small", arrived=1.0, row_cost=0.1)
        scheduler.submit(small)
    assert run_to_end(scheduler)[:6] == ["large0", *(f"small{k}" for k in range(5))]


def test_waiting_long_enough_beats_a_higher_priority():
    scheduler = Scheduler(1, 2, ageing_s=10)
    scheduler.submit(item("patient", priority=2, arrived=0.0))
    scheduler.submit(item("urgent", priority=0, arrived=25.0))
    assert [i.job_id for _, i in scheduler.admit(30.0)] == ["patient"]


def test_little_remaining_work_goes_first_when_rows_are_short():
    scheduler = Scheduler(3, 4)
    scheduler.submit(item("long", rows=[2] * 9, arrived=0.0))
    scheduler.submit(item("mid", rows=[2] * 5, arrived=1.0))
    scheduler.submit(item("tiny", rows=[2] * 2, arrived=2.0))
    scheduler.admit(3.0)
    assert [scheduler.running[s].job_id for s in scheduler.select()] == ["mid", "tiny"]


def test_a_slot_that_was_passed_over_often_enough_goes_first():
    scheduler = Scheduler(2, 2)
    scheduler.submit(item("long", rows=[2] * 500, arrived=0.0))
    scheduler.admit(0.0)
    ran = 0
    for k in range(5 * STARVATION_TICKS):  # an endless stream of short work beside it
        if len(scheduler.running) < 2:
            scheduler.submit(item(f"short{k}", rows=[2], arrived=float(k)))
            scheduler.admit(float(k))
        slots = scheduler.select()
        scheduler.advance(slots)
        for slot in slots:
            held = scheduler.running[slot]
            ran += held.job_id == "long"
            if held.done == len(held.plan):
                scheduler.retire(slot)
    assert ran >= 4


def test_withdrawing_a_job_frees_its_slots_and_forgets_what_waits():
    scheduler = Scheduler(2, 4)
    for index in range(3):
        scheduler.submit(item("gone", index))
    scheduler.submit(item("stays", arrived=1.0))
    scheduler.admit(1.0)
    assert len(scheduler.withdraw("gone")) == 2
    assert scheduler.waiting == 1
    assert run_to_end(scheduler) == ["stays"]


@pytest.mark.parametrize(("capacity", "rows", "named"), [(0, 4, "capacity"), (2, 1, "max_rows")])
def test_bounds_that_could_never_make_progress_are_refused(capacity, rows, named):
    with pytest.raises(ValueError, match=f"{named}: got"):
        Scheduler(capacity, rows)


plans = st.lists(st.integers(1, 2), min_size=1, max_size=12)


@given(
    jobs=st.lists(st.tuples(plans, st.integers(0, 2), st.sampled_from("xyz")), max_size=20),
    capacity=st.integers(1, 5),
    max_rows=st.integers(2, 8),
)
def test_everything_submitted_finishes_exactly_once(jobs, capacity, max_rows):
    scheduler = Scheduler(capacity, max_rows)
    for k, (rows, priority, tenant) in enumerate(jobs):
        scheduler.submit(item(str(k), rows=rows, priority=priority, tenant=tenant))
    assert sorted(run_to_end(scheduler), key=int) == [str(k) for k in range(len(jobs))]


class Histories(RuleBasedStateMachine):
    """Any interleaving of submissions, ticks and withdrawals keeps the stated invariants."""

    def __init__(self):
        super().__init__()
        self.scheduler = Scheduler(3, 4)
        self.submitted = 0
        self.ended = 0
        self.now = 0.0

    @rule(rows=plans, images=st.integers(1, 3))
    def submit(self, rows, images):
        for index in range(images):
            self.scheduler.submit(item(f"j{self.submitted}", index, rows, self.now))
        self.submitted += images

    @rule()
    def tick(self):
        self.now += 1
        self.scheduler.admit(self.now)
        slots = self.scheduler.select()
        running = self.scheduler.running
        rows = sum(running[slot].next_rows for slot in slots)
        assert rows <= 4
        assert bool(slots) == bool(running)
        self.scheduler.advance(slots)
        for slot in slots:
            if running[slot].done == len(running[slot].plan):
                self.scheduler.retire(slot)
                self.ended += 1

    @rule(job=st.integers(0, 30))
    def withdraw(self, job):
        before = self.scheduler.waiting + len(self.scheduler.running)
        self.scheduler.withdraw(f"j{job}")
        self.ended += before - self.scheduler.waiting - len(self.scheduler.running)

    @invariant()
    def nothing_is_lost_or_doubled(self):
        running = self.scheduler.running
        assert len(running) <= 3
        assert len({(i.job_id, i.index) for i in running.values()}) == len(running)
        assert self.scheduler.waiting + len(running) + self.ended == self.submitted


TestHistories = Histories.TestCase
