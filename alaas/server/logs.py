"""What the service writes about itself: to standard error, for people or for machines."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from alaas.config import LogSettings


def configure(settings: LogSettings) -> None:
    """Set the format and the level of every later log line of this process."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shown: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ
        )
    )
    marks: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    _bridge(marks, shown, level)
    structlog.configure(
        processors=[*marks, shown],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _bridge(
    marks: list[structlog.types.Processor], shown: structlog.types.Processor, level: int
) -> None:
    """Give the lines of the library, which logs as libraries do, the same form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, shown],
            foreign_pre_chain=marks,
        )
    )
    library = logging.getLogger("alaas")
    library.handlers = [handler]
    library.setLevel(level)
