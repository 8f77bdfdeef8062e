"""Servers on one machine, for development and tests: each is a child that its parent's end ends.

Not for a deployment, and not in the Lambda layer.
"""
