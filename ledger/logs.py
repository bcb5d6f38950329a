"""How every process writes what it does: one JSON object a line, our own lines and those of libraries.

May import: the standard library and structlog. Read next: `../workers/supervise.py`, which gathers the lines.
"""

import logging
import sys
from typing import TextIO

import structlog


def configure_logs(level: str, stream: TextIO = sys.stdout) -> None:
    """`level` is that of `LOG_LEVEL`. What libraries say is shown from warnings on: arq tells of every job it begins."""
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    logging.getLogger("arq").setLevel(max(number, logging.WARNING))
