"""Tests of jobs, with a real Postgres and real deliveries: a pytest plugin (docs/testing.md).

Its fixture `jobs` (`Jobs`) is all that most tests need:

def test_a_welcome_is_sent(jobs):
    sign_up("ada@example.com")
    jobs.assert_enqueued(send_email, {"to": "ada@example.com"})
    [done] = jobs.drain()
    assert done.job.status == "completed"

The package is installed by `pip install 'stashjobs[testing]'`; pytest finds the plugin by itself.
"""

from stashjobs.testing.deliveries import Answer
from stashjobs.testing.jobs import Crash, Delivered, Jobs

__all__ = ["Answer", "Crash", "Delivered", "Jobs"]
