"""How many examples a property is tried with: few in `make test`, many in `make test-long`."""

import os

LONG = "long"
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "patient")
BY_ITSELF = 40  # where a test names no number
MANY = 20


def examples(few: int) -> int:
    """`few`, or as many more as the profile asks for."""
    return few * MANY if PROFILE == LONG else few
