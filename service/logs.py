"""Log records as JSON lines on stderr, configured once by each `__main__`.

Messages are constant names of events; what varies goes into fields (`extra`). Prompts, tokens
and pixels are never logged.
"""

import json
import logging
import sys
from datetime import UTC, datetime

# What a record always has; any other attribute came through `extra`.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, event, the extra fields, the exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line, whatever it holds."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info:
            extra["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            extra["stack"] = record.stack_info
        return json.dumps({**extra, **fields}, default=str, ensure_ascii=False)


def configure(level: str) -> None:
    """Send every record from `level` up to stderr, replacing what was configured before.

    Args:
        level: a standard name, such as "INFO".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(capture=True)
