"""Code of somebody else, which may raise anything. Free of torch, until something is raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alaas.core.errors import AlaasError, ModelUnavailable
from alaas.models.reason import reason


class Raised(RuntimeError):
    """A model raised something while it predicted; the message says what.

    It is no error for a caller of the service, who is not to learn what a model says.
    """


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Make one line of whatever a model raises while it is loaded or tried out.

    Args:
        what: What then is said to have failed.

    Raises:
        ModelUnavailable: It raised something; errors of ours stay what they are.

    Example:
        >>> with guarded("the model fails"):
        ...     {}["fc"]
        Traceback (most recent call last):
            ...
        alaas.core.errors.ModelUnavailable: the model fails: KeyError: 'fc'
    """
    try:
        yield
    except AlaasError:
        raise
    except Raised as error:
        raise ModelUnavailable(f"{what}: {error}") from error
    except Exception as error:
        raise ModelUnavailable(f"{what}: {reason(error)}") from error


@contextmanager
def predicting() -> Iterator[None]:
    """Tell what a model raises while it predicts from errors of ours.

    Raises:
        Raised: It raised something. Shortages of memory stay what they are: with fewer items
            they may pass.
    """
    try:
        yield
    except AlaasError:
        raise
    except Exception as error:
        from alaas.models.memory import is_shortage

        if is_shortage(error):
            raise
        raise Raised(reason(error)) from error
