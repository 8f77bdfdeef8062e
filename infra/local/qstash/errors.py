"""What the API answers when it refuses: `{"error": "..."}` with a status (OpenAPI, `Error`)."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T", str, list[Any], dict[str, Any])
_JSON_NAMES = {str: "a string", list: "a list", dict: "an object"}


class ApiError(Exception):
    """A refusal that the client sees."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, message)


def not_found(what: str, name: str) -> ApiError:
    """404. Undocumented wording; the status is documented per endpoint."""
    return ApiError(404, f"{what} {name} not found")


def quota_exceeded(quota: str, limit: int, status: int = 400) -> ApiError:
    """QStash's words for a plan limit, e.g. `quota maxDelay exceeded, current limit: 604800`.

    The OpenAPI document gives 412 for queues and schedules and only 400 for publishing.
    """
    return ApiError(status, f"quota {quota} exceeded, current limit: {limit}")


def expect(value: Any, kind: type[T], what: str) -> T:
    """A part of a JSON body, if it is of the kind that it has to be. Undocumented wording."""
    if not isinstance(value, kind):
        raise bad_request(f"invalid request body: {what} must be {_JSON_NAMES[kind]}")
    return value
