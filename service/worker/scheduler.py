"""Which images get a slot, and which slots share the next tick. Pure: no clock, I/O or tensors.

An image joins the batch at any tick and leaves it when its own table ends; steps, solver and
guidance of its neighbours do not matter to it. Time comes in as a number.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

STARVATION_TICKS = 8  # a runnable slot passed over this often goes first, whatever it costs


@dataclass(slots=True)
class Item:
    """One image of a job on its way through the network."""

    job_id: str
    index: int
    plan: Sequence[int]  # network rows (1 or 2) of each of its calls
    arrived: float  # seconds, any fixed origin
    priority: int = 1  # 0 goes first
    tenant: str = "anonymous"
    deadline: float | None = None  # same origin as `arrived`
    row_cost: float = 1.0  # of one of its rows, by whatever measure compares rows
    done: int = field(default=0, init=False)
    skipped: int = field(default=0, init=False)

    @property
    def next_rows(self) -> int:
        """Rows of its next network call."""
        return self.plan[self.done]

    @property
    def remaining_work(self) -> float:
        """What its rows still to be computed cost."""
        return sum(self.plan[self.done :]) * self.row_cost


class Scheduler:
    """Admission by priority, deadline and fairness; ticks by least remaining work.

    Invariants: a slot holds at most one image and an image at most one slot; occupied and free
    slots add up to `capacity`; a tick never exceeds `max_rows` rows and, when anything runs, is
    never empty; a waiting image moves up one priority for each `ageing_s` it has waited, and a
    running one is passed over at most `STARVATION_TICKS` times while others go, so nothing starves.
    """

    def __init__(self, capacity: int, max_rows: int, *, ageing_s: float = 30.0) -> None:
        """Start empty.

        Args:
            capacity: slots of the engine.
            max_rows: network rows one tick may hold, at least 2 (one guided image).
            ageing_s: seconds of waiting that are worth one priority.

        Raises:
            ValueError: a bound is too small to ever make progress.
        """
        if capacity < 1:
            msg = f"capacity: got {capacity}; allowed: at least 1"
            raise ValueError(msg)
        if max_rows < 2:
            msg = f"max_rows: got {max_rows}; allowed: at least 2, the rows of one guided image"
            raise ValueError(msg)
        self._max_rows = max_rows
        self._ageing_s = ageing_s
        self._waiting: list[Item] = []
        self._running: dict[int, Item] = {}
        self._free = list(reversed(range(capacity)))
        self._charged: dict[str, float] = {}

    @property
    def idle(self) -> bool:
        """True when a tick would do nothing."""
        return not (self._waiting or self._running)

    @property
    def waiting(self) -> int:
        """Images without a slot."""
        return len(self._waiting)

    @property
    def running(self) -> dict[int, Item]:
        """Occupied slots and what they hold."""
        return dict(self._running)

    def submit(self, item: Item) -> None:
        """Let an image wait for a slot.

        A tenant unknown so far starts level with the least charged one present, so that neither
        a newcomer nor a returning tenant can claim the past.
        """
        if item.tenant not in self._charged:
            present = {i.tenant for i in (*self._waiting, *self._running.values())}
            self._charged = {t: c for t, c in self._charged.items() if t in present}
            self._charged[item.tenant] = min(self._charged.values(), default=0)
        self._waiting.append(item)

    def admit(self, now: float) -> list[tuple[int, Item]]:
        """Give free slots to waiting images; returns the new (slot, image) pairs."""
        placed = []
        while self._waiting and self._free:
            item = min(self._waiting, key=lambda i: self._admission_key(i, now))
            self._waiting.remove(item)
            slot = self._free.pop()
            self._running[slot] = item
            self._charged[item.tenant] += item.remaining_work
            placed.append((slot, item))
        return placed

    def select(self) -> list[int]:
        """Slots to step in this tick, ascending; marks those passed over."""
        chosen: list[int] = []
        rows = 0
        for slot in sorted(self._running, key=self._tick_key):
            item = self._running[slot]
            if rows + item.next_rows <= self._max_rows:
                rows += item.next_rows
                chosen.append(slot)
        for slot, item in self._running.items():
            item.skipped = 0 if slot in chosen else item.skipped + 1
        return sorted(chosen)

    def advance(self, slots: Sequence[int]) -> None:
        """Record that these slots have made their next network call."""
        for slot in slots:
            self._running[slot].done += 1

    def retire(self, slot: int) -> Item:
        """Free a slot and return the image that held it; KeyError if it was free."""
        item = self._running.pop(slot)
        self._free.append(slot)
        return item

    def withdraw(self, job_id: str) -> list[int]:
        """Forget all images of a job; returns the slots this frees."""
        self._waiting = [item for item in self._waiting if item.job_id != job_id]
        slots = [slot for slot, item in self._running.items() if item.job_id == job_id]
        for slot in slots:
            self.retire(slot)
        return slots

    def _admission_key(self, item: Item, now: float) -> tuple[float, float, float, float, int]:
        aged = item.priority - (now - item.arrived) // self._ageing_s
        deadline = float("inf") if item.deadline is None else item.deadline
        return (aged, deadline, self._charged[item.tenant], item.arrived, item.index)

    def _tick_key(self, slot: int) -> tuple[bool, float, float, int]:
        item = self._running[slot]
        return (item.skipped < STARVATION_TICKS, item.remaining_work, item.arrived, slot)
