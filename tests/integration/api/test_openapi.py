"""The OpenAPI document: complete, so that a client can be made from it."""

from __future__ import annotations

from typing import Any

from functions.api.app import app

DOCUMENT = app.openapi()
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
OPEN = {"/livez", "/readyz"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = DOCUMENT["components"]["schemas"][name] if name else schema
    return found


def has_example(content: dict[str, Any]) -> bool:
    """In the content itself or its schema; in every alternative, or in the items of a list."""
    if "example" in content or "examples" in content:
        return True
    schema = resolved(content["schema"])
    if schema.get("type") == "null" or "examples" in schema:
        return True
    if "properties" in schema:
        return all(has_example({"schema": each}) for each in schema["properties"].values())
    parts = (
        schema.get("anyOf")
        or schema.get("oneOf")
        or [schema[key] for key in ("items",) if key in schema]
    )
    return bool(parts) and all(has_example({"schema": part}) for part in parts)


def described(operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The contents of its body and of its answers."""
    contents = [answer["content"] for answer in operation["responses"].values()]
    return contents + ([operation["requestBody"]["content"]] if "requestBody" in operation else [])


def refusals_of(path: str, operation: dict[str, Any]) -> set[str]:
    wanted = set() if path == "/livez" else {"503"}
    if path not in OPEN:
        wanted |= {"401", "403", "422", "429"}
    if "{job_id}" in path or "{name}" in path:
        wanted.add("404")
    if "schedules/{name}" in path or "{job_id}/" in path or path.startswith("/api/admin/jobs/"):
        wanted.add("409")
    if "requestBody" in operation:
        wanted.add("415")
    return wanted


def test_every_operation_says_what_it_does() -> None:
    silent = [
        name for name, one in OPERATIONS.items() if not (one.get("description") and one.get("tags"))
    ]
    assert silent == []


def test_every_body_and_every_answer_has_an_example() -> None:
    without = [
        name
        for name, operation in OPERATIONS.items()
        for content in described(operation)
        if set(content) != {"application/json"} or not has_example(content["application/json"])
    ]
    assert without == []


def test_every_operation_tells_its_refusals() -> None:
    for name, operation in OPERATIONS.items():
        refused = {status for status in operation["responses"] if status >= "400"}
        assert refused >= refusals_of(name.partition(" ")[2], operation), name
        for status in refused:
            schema = operation["responses"][status]["content"]["application/json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Refusal"}, (name, status)


def test_every_status_that_says_wait_says_for_how_long() -> None:
    for methods in DOCUMENT["paths"].values():
        for operation in methods.values():
            for status in {"429", "503"} & operation["responses"].keys():
                assert operation["responses"][status]["headers"]["Retry-After"]["required"]
