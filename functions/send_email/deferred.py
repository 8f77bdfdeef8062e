"""Imports that wait until they are needed.

An SDK may import an HTTP library that its caller then replaces by another. What it imports inside
`deferred` is a stand-in, and the library is imported when something of it is asked for, if ever.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _StandIn(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:  # asked while the block below still runs
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


@contextlib.contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Defer the import of these modules by whatever is imported in the block.

    It helps where they are imported as a whole (`import requests`) and nothing of them is used at
    once. After the block they are imported as ever; one that is imported already is left alone.
    """
    stand_ins = [_StandIn(name) for name in names if name not in sys.modules]
    sys.modules.update({each.__name__: each for each in stand_ins})
    try:
        yield
    finally:
        for each in stand_ins:
            if sys.modules.get(each.__name__) is each:
                del sys.modules[each.__name__]
