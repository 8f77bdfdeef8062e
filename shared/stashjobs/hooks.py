"""`@around`: an app's own functions around every attempt and every enqueue."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

Kind = Literal["attempt", "enqueue"]
Hook = TypeVar("Hook", bound="Callable[..., Iterator[None]]")

# Where an app's hooks are found by every function (docs/hooks.md).
MODULE = "functions.hooks"

_hooks: dict[str, dict[str, Callable[..., Iterator[None]]]] = {"attempt": {}, "enqueue": {}}
_is_loaded = False


def around(kind: Kind) -> Callable[[Hook], Hook]:
    """Declare a hook: a generator function with one `yield`, around every attempt or enqueue.

    `attempt`: `hook(payload, context)`; the job's function runs at the `yield`.
    `enqueue`: `hook(jobs)`; the rows are written at the `yield`. `jobs` is a list of `NewJob`,
    whose metadata the hook may change before then.

    The first hook declared is the outermost. An error of the attempt or the enqueue is raised at
    the `yield`, and is raised again after the hook, even if the hook catches it, unless the hook
    raises another. An error of a hook counts as the job function's, or the enqueue's, own.

    Raises:
        ValueError: The kind is unknown, or the hook is not a generator function.
    """
    if kind not in _hooks:
        raise ValueError(f"around: the kind is {kind!r}, it must be attempt or enqueue")

    def declare(hook: Hook) -> Hook:
        is_generator: bool = inspect.isgeneratorfunction(hook)
        if not is_generator:
            raise ValueError("around: a hook is a generator function, with one yield")
        # A module that is imported again declares the same one.
        _hooks[kind][f"{hook.__module__}.{hook.__qualname__}"] = hook
        return hook

    return declare


def declared(kind: Kind) -> tuple[Callable[..., Iterator[None]], ...]:
    """The hooks of a kind, the outermost first."""
    global _is_loaded  # noqa: PLW0603 - looked for once in a process
    if not _is_loaded:
        _is_loaded = True
        _load()
    return tuple(_hooks[kind].values())


def _load() -> None:
    try:
        is_there = importlib.util.find_spec(MODULE) is not None
    except ModuleNotFoundError:  # no `functions` here
        return
    if is_there:
        importlib.import_module(MODULE)


@contextmanager
def entered(hooks: tuple[Callable[..., Iterator[None]], ...], *arguments: Any) -> Iterator[None]:
    """Within these hooks. An error goes on, whatever they make of it, unless one raises another."""
    with ExitStack() as stack:
        for hook in hooks:
            manager = contextmanager(hook)(*arguments)
            manager.__enter__()
            stack.push(partial(_leave, manager))
        yield


def _leave(manager: AbstractContextManager[None], *error: Any) -> bool:
    manager.__exit__(*error)
    return False
