"""Which function handles which event of which source.

    @on("acme", "order.paid")
    def order_paid(order: Order, context: Context) -> dict[str, Any]: ...

in a module of `functions/process_webhook/sources/`; nothing else has to know of it.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import typing
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from stashjobs.errors import InvalidPayload

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Context

Body = TypeVar("Body")
Result = TypeVar("Result")

_handlers: dict[tuple[str, str], EventHandler[Any, Any]] = {}


class EventHandler(Generic[Body, Result]):
    """A handler and the model of the bodies it takes: the annotation of its first parameter."""

    def __init__(
        self, function: Callable[[Body, Context], Result], source: str, event: str
    ) -> None:
        self.function = function
        self.name = f"{source} {event}"

    @functools.cached_property
    def _adapter(self) -> TypeAdapter[Body]:
        first = next(iter(inspect.signature(self.function).parameters.values()))
        # Only this one is resolved: a module may import its Context for the type checker alone.
        alone = SimpleNamespace(__annotations__={"body": first.annotation})
        names = getattr(self.function, "__globals__", {})
        return TypeAdapter(typing.get_type_hints(alone, names, include_extras=True)["body"])

    def __call__(self, body: dict[str, Any], context: Context) -> Result:
        """Handle one event.

        Raises:
            InvalidPayload: The body is not what the handler takes; the job fails for good.
        """
        try:
            typed = self._adapter.validate_python(body)
        except ValidationError as error:
            reasons = [
                f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['msg']}"
                for problem in error.errors(include_input=False, include_context=False)
            ]
            raise InvalidPayload(self.name, reasons) from None
        return self.function(typed, context)


def on(
    source: str, *events: str
) -> Callable[[Callable[[Body, Context], Result]], Callable[[Body, Context], Result]]:
    """Register a handler for events of a source.

    Args:
        source: As in the webhook's URL: `github`.
        events: In the source's own words: `push`.

    Raises:
        ValueError: No event is given, or another function handles one of them already.
    """
    if not events:
        raise ValueError(f"on({source!r}): name at least one event")

    def register(function: Callable[[Body, Context], Result]) -> Callable[[Body, Context], Result]:
        for event in events:
            other = _handlers.get((source, event))
            if other is not None and _name(other.function) != _name(function):
                raise ValueError(
                    f"{source} {event} is handled twice: by {_name(other.function)} "
                    f"and by {_name(function)}"
                )
            _handlers[source, event] = EventHandler(function, source, event)
        return function

    return register


def find(source: str, event: str) -> EventHandler[Any, Any] | None:
    """The handler of an event, None where none is registered."""
    load()
    return _handlers.get((source, event))


@functools.cache
def load() -> None:
    """Import every module of `sources`, and so register all handlers."""
    sources = importlib.import_module("functions.process_webhook.sources")
    for module in pkgutil.iter_modules(sources.__path__):
        importlib.import_module(f"{sources.__name__}.{module.name}")


def _name(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"
