import pytest

from service.api.negotiation import matches_etag, preferred_format, preferred_wait_s


@pytest.mark.parametrize(
    ("accept", "default", "chosen"),
    [
        ("", "webp", "webp"),
        ("*/*", "jpeg", "jpeg"),
        ("image/*", "webp", "webp"),
        ("image/png", "webp", "png"),
        ("IMAGE/PNG", "webp", "png"),
        ("image/png;q=0.4, image/webp;q=0.6", "png", "webp"),
        ("image/*;q=0.5, image/jpeg", "png", "jpeg"),
        ("image/*, image/png;q=0", "png", "webp"),
        ("*/*, image/*;q=0.1", "jpeg", "jpeg"),
        ("image/webp ; q=1.000", "png", "webp"),
        ("text/html", "png", None),
        ("image/png;q=0", "png", None),
        ("image/png;q=0.0, */*;q=0", "png", None),
        ("image/png;q=2, image/webp;q=0.3", "png", "webp"),
        ("nonsense", "jpeg", "jpeg"),
        (",,;;", "jpeg", "jpeg"),
    ],
)
def test_the_most_welcome_format_is_chosen(accept, default, chosen):
    assert preferred_format(accept, default) == chosen


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
        ("a", False),
        ("", False),
    ],
)
def test_tags_are_compared_weakly(header, matches):
    assert matches_etag(header, '"a"') is matches


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("wait=10", 10),
        ("Wait = 3", 3),
        ('wait="7"', 7),
        ("respond-async, wait=5", 5),
        ("respond-async; wait=5", 5),
        ("wait=0", 0),
        ("wait=x, wait=4", 4),
        ("wait", None),
        ("wait=-2", None),
        ("wait=1.5", None),
        ("wait=" + "9" * 5000, None),
        ("", None),
    ],
)
def test_a_wait_is_read_where_it_makes_sense(prefer, seconds):
    assert preferred_wait_s(prefer) == seconds
