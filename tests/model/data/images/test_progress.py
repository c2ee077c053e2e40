import io

from rich.console import Console
from rich.progress import Progress

from model.data.images.progress import RateColumn, image_bar


def test_nothing_is_shown_where_stderr_is_no_terminal(capsys):
    with image_bar("encoding", 10) as done:
        done(3)
    assert capsys.readouterr().err.strip() == ""


def test_the_rate_counts_images_a_second():
    seconds = iter(range(100))
    display = Progress(
        RateColumn(), console=Console(file=io.StringIO()), get_time=lambda: float(next(seconds))
    )
    task = display.add_task("encoding", total=100)
    column = RateColumn()
    assert str(column.render(display.tasks[0])) == ""
    for _ in range(4):
        display.advance(task, 5)
    assert str(column.render(display.tasks[0])) == "5.0 images/s"
