"""Makes reference.md: what is public in Python, from its docstrings, and the HTTP API, from its
OpenAPI document.

    make reference

A test compares the page with what this would make.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PAGE = Path(__file__).parent / "reference.md"
HEAD = """# Reference

Made by `make reference` from the docstrings and from the OpenAPI document; not to be edited. How
the parts are used is in [usage.md](usage.md), [testing.md](testing.md) and [api.md](api.md).
"""
MODULES = {
    "stashjobs": "All that an app and a job need: `from stashjobs import Context, job`.",
    "stashjobs.testing": "A pytest plugin: its fixture `jobs` is a `Jobs`.",
}
FIXTURES = (
    "jobs",
    "stashjobs_settings",
    "stashjobs_database",
    "stashjobs_qstash",
    "stashjobs_template",
    "stashjobs_server",
)
OF_THE_WORKER = {
    "commit",
    "rollback",
    "publish_enqueued",
    "has_connection",
    "undo_step",
    "publish_enqueued_by_step",
    "last_new_step",
}
"""In `Context`, and not for a job to call."""
ONE_LINE = 96
SECTIONS = ("Args", "Attributes", "Raises", "Returns")
_SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):\n((?:    .*\n|\n)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(\S.*?): (.*(?:\n +.*)*)", re.MULTILINE)


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Python\n"]
    for module, about in MODULES.items():
        parts += [f"### {module}\n", f"{about}\n", *_of_module(module)]
    parts += ["#### Fixtures\n", *_fixtures(), "## HTTP\n", *_of_api()]
    return "\n".join(parts)


# --- Python


def _of_module(name: str) -> Iterator[str]:
    module = importlib.import_module(name)
    things = [getattr(module, each) for each in module.__all__]
    for thing in sorted(things, key=_place):
        yield f"#### {thing.__name__}\n"
        if inspect.isclass(thing):
            yield from _of_class(thing)
        else:
            yield from _of_function(thing.__name__, thing)


def _place(thing: Any) -> tuple[bool, str, int]:
    """As in the source, the errors last."""
    is_error = inspect.isclass(thing) and issubclass(thing, BaseException)
    return is_error, thing.__module__, inspect.getsourcelines(thing)[1]


def _of_class(thing: type) -> Iterator[str]:
    told = inspect.getdoc(thing) or ""
    if "__init__" in vars(thing) and issubclass(thing, BaseException):
        yield _block(_signature(thing.__name__, thing.__init__))
    yield _markdown(told)
    if dataclasses.is_dataclass(thing) and "Attributes:" not in told:
        fields = [each for each in dataclasses.fields(thing) if not each.name.startswith("_")]
        yield "\n".join(f"- `{each.name}: {each.type}`" for each in fields) + "\n"
    for name, member in vars(thing).items():
        if name.startswith("_") or name in OF_THE_WORKER or not inspect.getdoc(member):
            continue
        if isinstance(member, property):
            yield f"**`{name}`**\n"
            yield _markdown(inspect.getdoc(member) or "")
        elif inspect.isfunction(member):
            yield from _of_function(name, member)


def _of_function(name: str, function: Callable[..., Any]) -> Iterator[str]:
    yield _block(_signature(name, function))
    yield _markdown(inspect.getdoc(function) or "")


def _signature(name: str, function: Callable[..., Any]) -> str:
    """As one would write it; one parameter a line where it is long."""
    signature = inspect.signature(function)
    parameters = [
        each.replace(annotation=_Bare(each.annotation))
        for each in signature.parameters.values()
        if each.name != "self"
    ]
    returns = signature.return_annotation
    shown = signature.empty if returns in {"None", None} else _Bare(returns)
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    bare = signature.replace(parameters=parameters, return_annotation=shown)
    if len(text := f"{prefix}{name}{bare}") <= ONE_LINE:
        return text
    listed = [str(each) for each in parameters]
    first = next((each for each, it in enumerate(parameters) if it.kind is it.KEYWORD_ONLY), None)
    if first is not None:
        listed.insert(first, "*")
    lines = [f"    {each}," for each in listed]
    after = "" if shown is signature.empty else f" -> {shown}"
    return "\n".join([f"{prefix}{name}(", *lines, f"){after}"])


class _Bare:
    """An annotation that shows itself without quotes."""

    def __init__(self, text: Any) -> None:
        self._text = text if isinstance(text, str) else inspect.formatannotation(text)

    def __repr__(self) -> str:
        return self._text


def _block(text: str) -> str:
    return f"```\n{text}\n```\n"


def _markdown(docstring: str) -> str:
    """A docstring in Google's style, with its sections as lists."""

    def listed(match: re.Match[str]) -> str:
        body = textwrap.dedent(match[2]).strip()
        entries = _ENTRY.findall(body)
        if not entries:
            return f"{match[1]}: {body}\n\n"
        lines = [f"- `{name}`: {' '.join(text.split())}" for name, text in entries]
        return "\n".join([f"{match[1]}:\n", *lines]) + "\n\n"

    return _SECTION.sub(listed, f"{docstring}\n").rstrip("\n") + "\n"


def _fixtures() -> Iterator[str]:
    plugin = importlib.import_module("pytest_stashjobs")
    for name in FIXTURES:
        function = inspect.unwrap(getattr(plugin, name)._get_wrapped_function())
        first_sentence = " ".join((inspect.getdoc(function) or "").split()).partition(". ")[0]
        yield f"- `{name}`: {first_sentence.rstrip('.')}."
    yield ""


# --- HTTP


def _of_api() -> Iterator[str]:
    from functions.api.app import app

    document = app.openapi()
    yield f"{document['info']['description']}\n"
    yield "A refusal is a [Refusal](#refusal-body), with one of these statuses:\n"
    yield "| status | when |\n| --- | --- |"
    operations = [each for methods in document["paths"].values() for each in methods.values()]
    for status, when in sorted({pair for each in operations for pair in _refusals(each)}):
        yield _row(status, when)
    yield ""
    for tag in document["tags"]:
        yield f"### {tag['name'].capitalize()}\n"
        yield f"{tag['description']}\n"
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _of_operation(f"{method.upper()} {path}", operation)
    yield "### Bodies\n"
    for name, schema in document["components"]["schemas"].items():
        yield from _of_schema(name, schema)


def _of_operation(route: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"#### {route}\n"
    yield f"{operation['description']}\n"
    scopes = [scope for each in operation.get("security", []) for scope in each["token"]]
    yield f"Scope: {', '.join(scopes) or 'none; it is public'}.\n"
    if parameters := operation.get("parameters"):
        yield "| parameter | in | type | meaning |\n| --- | --- | --- | --- |"
        for each in parameters:
            schema = each.get("schema") or each["content"]["application/json"]["schema"]
            told = each.get("description") or schema.get("description") or ""
            yield _row(f"`{each['name']}`", each["in"], _type(schema), told)
        yield ""
    if "requestBody" in operation:
        yield f"Body: {_type(operation['requestBody']['content']['application/json']['schema'])}.\n"
    refusals = _refusals(operation)
    for status, answer in sorted(operation["responses"].items()):
        if (status, answer["description"]) not in refusals:
            told = answer["description"].replace("Successful Response", "").rstrip(".")
            body = _type(answer["content"]["application/json"]["schema"])
            yield f"Answers {status}{told and f' ({told[0].lower()}{told[1:]})'}: {body}.\n"
    yield f"Refuses with {', '.join(sorted(status for status, _ in refusals))}.\n"


def _refusals(operation: Mapping[str, Any]) -> set[tuple[str, str]]:
    """The statuses, and what each says."""
    return {
        (status, answer["description"])
        for status, answer in operation["responses"].items()
        if answer["content"]["application/json"]["schema"].get("$ref", "").endswith("/Refusal")
    }


def _of_schema(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"#### {_title(name)} (body)\n"
    if described := schema.get("description"):
        yield f"{described}\n"
    if properties := schema.get("properties"):
        yield "| member | type | meaning |\n| --- | --- | --- |"
        required = schema.get("required", [])
        for member, each in properties.items():
            must = "required. " if member in required else ""
            yield _row(f"`{member}`", _type(each), must + each.get("description", ""))
        yield ""


def _type(schema: Mapping[str, Any]) -> str:
    """In a few words, with links to the bodies."""
    if reference := schema.get("$ref"):
        title = _title(reference.rpartition("/")[2])
        return f"[{title}](#{title.lower().replace(' ', '-')}-body)"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[several]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return f"{schema.get('format') or schema.get('type') or 'any JSON'}{_bounds(schema)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "from {}",
        "maximum": "to {}",
        "minLength": "at least {} long",
        "maxLength": "up to {} long",
    }
    told = [text.format(_number(schema[name])) for name, text in words.items() if name in schema]
    return f" ({', '.join(told)})" if told else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else str(value)


def _title(name: str) -> str:
    """FastAPI gives two models of one name their modules' names too."""
    return " ".join(name.removeprefix("functions__api__").split("__"))


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(page())
