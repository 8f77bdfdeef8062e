"""Tests of jobs, with a real Postgres and real deliveries: a pytest plugin (docs/testing.md).

Its fixture `jobs` (`Jobs`) is all that most tests need:

def test_a_welcome_is_sent(jobs):
    sign_up("ada@example.com")
    jobs.assert_enqueued(send_email, {"to": "ada@example.com"})
    [done] = jobs.drain()
    assert done.job.status == "completed"

The package is installed by `pip install 'stashjobs[testing]'`; pytest finds the plugin by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stashjobs.testing.deliveries import Answer
    from stashjobs.testing.jobs import Crash, Delivered, Jobs

__all__ = ["Answer", "Crash", "Delivered", "Jobs"]


def __getattr__(name: str) -> Any:
    """Imported at first use: pytest imports this package in every run, also of other projects."""
    if name == "Answer":
        from stashjobs.testing import deliveries

        return deliveries.Answer
    if name in __all__:
        from stashjobs.testing import jobs

        return getattr(jobs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
