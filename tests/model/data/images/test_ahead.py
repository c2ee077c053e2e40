import threading

import pytest

from model.data.images.ahead import AHEAD, map_ahead


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items(threads):
    assert list(map_ahead(lambda k: k * k, range(50), threads=threads)) == [
        k * k for k in range(50)
    ]


def test_no_more_than_a_few_items_are_taken_ahead():
    taken = []

    def items():
        for k in range(100):
            taken.append(k)
            yield k

    found = map_ahead(abs, items(), threads=2)
    next(found)
    assert len(taken) <= 2 * AHEAD


def test_items_are_worked_on_at_once():
    meeting = threading.Barrier(3)
    assert len(list(map_ahead(lambda _: meeting.wait(10), range(3), threads=3))) == 3


def test_an_error_reaches_the_reader():
    with pytest.raises(ZeroDivisionError):
        list(map_ahead(lambda k: 1 // k, [1, 0, 2], threads=2))
