"""Reads the functions, routes and schedules out of a SAM template.

Only what a local run needs: parameters by their defaults, conditions, and the intrinsic functions
that appear in names, environment variables and events (AWS docs, "AWS SAM template anatomy" and
"Intrinsic function reference"). What cannot be known on one machine, such as the ARN of a queue,
is left out rather than guessed.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REGION = "us-east-1"
ACCOUNT = "123456789012"
STACK_SETTINGS = "StackSecret"
RESERVED = "ReservedConcurrentExecutions"
PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::NoValue": None,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::StackName": "stashjobs-local",
    "AWS::URLSuffix": "amazonaws.com",
}


class TemplateError(ValueError):
    """The template cannot be used; the message says why."""


class UnknownHereError(LookupError):
    """A value that only AWS knows."""


@dataclass(frozen=True)
class Route:
    """`POST /api/jobs/email`, or `$default`."""

    method: str
    path: str

    @property
    def key(self) -> str:
        return self.path if self.path == "$default" else f"{self.method} {self.path}"


@dataclass(frozen=True)
class ScheduleEvent:
    """When EventBridge calls a function by itself, and with what."""

    name: str
    expression: str
    timezone: str = "UTC"
    input: str | None = None


@dataclass(frozen=True)
class Function:
    """One Lambda."""

    name: str
    handler: str
    code: str = "."
    timeout: float = 3
    memory: int = 128
    concurrency: int | None = None
    log_format: str = "Text"
    environment: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    schedules: tuple[ScheduleEvent, ...] = ()
    has_url: bool = False


@dataclass(frozen=True)
class Template:
    """All of it.

    Attributes:
        settings: What the stack's secret would tell the functions, as far as it is known here.
    """

    functions: dict[str, Function]
    settings: dict[str, str] = field(default_factory=dict)


# The parser in C is ten times as fast; PyYAML's source distribution may lack it.
_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[valid-type, misc]  # a class all the same
    """YAML with CloudFormation's short forms: `!Ref X` becomes `{"Ref": "X"}`."""


def _short_form(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:  # PyYAML has no other kind of node
        raise TemplateError(f"!{suffix} cannot be read")
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def read_template(
    path: Path,
    *,
    parameters: Mapping[str, str] | None = None,
    function_urls: Mapping[str, str] | None = None,
) -> Template:
    """Read `path`.

    Args:
        path: template.yaml.
        parameters: override the defaults of the template's parameters.
        function_urls: what `!GetAtt <function>Url.FunctionUrl` is here.
    """
    try:
        document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506  (a SafeLoader)
    except (OSError, yaml.YAMLError) as error:
        raise TemplateError(f"{path}: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
        raise TemplateError(f"{path} has no Resources")
    resolver = _Resolver(document, parameters or {}, function_urls or {})
    defaults = (document.get("Globals") or {}).get("Function") or {}
    functions = {}
    for name, resource in document["Resources"].items():
        if resource.get("Type") == "AWS::Serverless::Function" and resolver.is_wanted(resource):
            functions[name] = _function(name, resource.get("Properties") or {}, defaults, resolver)
    return Template(functions, _settings(document["Resources"].get(STACK_SETTINGS), resolver))


class _Resolver:
    """Intrinsic functions, as far as one machine can answer them."""

    def __init__(
        self,
        document: dict[str, Any],
        parameters: Mapping[str, str],
        function_urls: Mapping[str, str],
    ) -> None:
        declared = document.get("Parameters") or {}
        self.values: dict[str, Any] = dict(PSEUDO_PARAMETERS)
        for name, declaration in declared.items():
            kind = str(declaration.get("Type"))
            if name in parameters:
                self.values[name] = parameters[name]
            elif "Default" in declaration and "SSM" not in kind:
                self.values[name] = declaration["Default"]
            if name in self.values and kind == "CommaDelimitedList":
                self.values[name] = str(self.values[name]).split(",")
        self.conditions = document.get("Conditions") or {}
        self.mappings = document.get("Mappings") or {}
        self.function_urls = function_urls

    def is_wanted(self, thing: Any) -> bool:
        """False where a `Condition:` on it does not hold."""
        name = thing.get("Condition") if isinstance(thing, dict) else None
        return self._holds({"Condition": name}) if name else True

    def value(self, thing: Any) -> Any:
        """`thing` with its intrinsic functions replaced by their values.

        Raises:
            UnknownHereError: One of them has no value outside AWS.
        """
        if isinstance(thing, list):
            return [self.value(each) for each in thing]
        if not isinstance(thing, dict):
            return thing
        if len(thing) == 1:
            (name, argument), *_ = thing.items()
            if name == "Ref" or str(name).startswith("Fn::"):
                return self._call(name, argument)
        return {name: self.value(each) for name, each in thing.items()}

    def _call(self, name: str, argument: Any) -> Any:
        match name:
            case "Ref":
                return self._named(argument)
            case "Fn::GetAtt":
                return self._attribute(argument)
            case "Fn::Sub":
                return self._substitute(argument)
            case "Fn::If":
                condition, yes, no = argument
                return self.value(yes if self._holds({"Condition": condition}) else no)
            case "Fn::Join":
                separator, parts = argument
                return separator.join(str(part) for part in self.value(parts))
            case "Fn::Split":
                separator, text = argument
                return str(self.value(text)).split(separator)
            case "Fn::FindInMap":
                table, first, second = (self.value(each) for each in argument[:3])
                try:
                    return self.value(self.mappings[table][first][second])
                except KeyError:
                    raise TemplateError(
                        f"Mappings.{table}.{first} has no {second}; add it to each list"
                    ) from None
        raise UnknownHereError(name)

    def _named(self, name: str) -> Any:
        if name not in self.values:
            raise UnknownHereError(name)
        return self.values[name]

    def _attribute(self, path: list[str]) -> str:
        resource, attribute = path
        function = resource.removesuffix("Url")
        if attribute == "FunctionUrl" and function in self.function_urls:
            return self.function_urls[function]
        raise UnknownHereError(".".join(path))

    def _substitute(self, argument: Any) -> str:
        text, own = argument if isinstance(argument, list) else (argument, {})

        def replace(found: re.Match[str]) -> str:
            name = found[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in own:
                return str(self.value(own[name]))
            return str(self._attribute(name.split(".", 1)) if "." in name else self._named(name))

        return re.sub(r"\$\{([^}]+)\}", replace, text)

    def _holds(self, test: Any) -> bool:
        (name, argument), *_ = test.items()
        match name:
            case "Condition":
                return self._holds(self.conditions[argument])
            case "Fn::Equals":
                first, second = self.value(argument)
                return bool(str(first) == str(second))
            case "Fn::Not":
                return not self._holds(argument[0])
            case "Fn::And":
                return all(self._holds(each) for each in argument)
            case "Fn::Or":
                return any(self._holds(each) for each in argument)
        raise TemplateError(f"the condition {name} is not known")


def _number(function: str, key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TemplateError(f"{function}: {key} is {value!r}; it must be a number") from None


def _function(
    name: str, own: dict[str, Any], defaults: dict[str, Any], resolver: _Resolver
) -> Function:
    def setting(key: str, default: Any) -> Any:
        return resolver.value(own.get(key, defaults.get(key, default)))

    if not own.get("Handler", defaults.get("Handler")):
        raise TemplateError(f"{name} has no Handler")
    events = [
        (key, event["Type"], event.get("Properties") or {})
        for key, event in (own.get("Events") or {}).items()
        if resolver.is_wanted(event)
    ]
    # SAM merges the two (SAM docs, "Globals section"); a log group only AWS knows.
    logging = {**defaults.get("LoggingConfig", {}), **own.get("LoggingConfig", {})}
    reserved = setting(RESERVED, None)
    return Function(
        name=name,
        handler=str(setting("Handler", "")),
        code=str(setting("CodeUri", ".")),
        timeout=_number(name, "Timeout", setting("Timeout", 3)),
        memory=int(_number(name, "MemorySize", setting("MemorySize", 128))),
        concurrency=None if reserved is None else int(_number(name, RESERVED, reserved)),
        log_format=str(resolver.value(logging.get("LogFormat", "Text"))),
        environment=_environment(own, defaults, resolver),
        routes=tuple(
            _route(properties, resolver) for _, kind, properties in events if kind == "HttpApi"
        ),
        schedules=tuple(
            schedule
            for key, kind, properties in events
            if kind in {"Schedule", "ScheduleV2"}
            and (schedule := _schedule(key, kind, properties, resolver))
        ),
        has_url=bool(own.get("FunctionUrlConfig")),
    )


def _environment(
    own: dict[str, Any], defaults: dict[str, Any], resolver: _Resolver
) -> dict[str, str]:
    merged: dict[str, Any] = {}
    for source in (defaults, own):
        merged.update((source.get("Environment") or {}).get("Variables") or {})
    known = {}
    for name, value in merged.items():
        try:
            known[name] = _text(resolver.value(value))
        except UnknownHereError:
            continue
    # A reference that CloudFormation resolves while deploying ("Using dynamic references").
    return {name: value for name, value in known.items() if "{{resolve:" not in value}


def _settings(secret: Any, resolver: _Resolver) -> dict[str, str]:
    """The settings in the text of a secret, without those that are empty or only AWS knows."""
    if secret is None:
        return {}
    text, own = secret["Properties"]["SecretString"]["Fn::Sub"]

    def replace(found: re.Match[str]) -> str:
        try:
            return _text(resolver.value({"Fn::Sub": [found[0], own]}))
        except UnknownHereError:
            return found[0]

    known: dict[str, Any] = json.loads(re.sub(r"\$\{[^}]+\}", replace, text))
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in known.items()
        if value and "${" not in str(value)
    }


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _route(properties: dict[str, Any], resolver: _Resolver) -> Route:
    """No path and no method is the catch-all route (SAM docs, "HttpApi" event source)."""
    path = resolver.value(properties.get("Path", "$default"))
    method = str(resolver.value(properties.get("Method", "ANY"))).upper()
    return Route("ANY" if method in {"X-AMAZON-APIGATEWAY-ANY-METHOD", "ANY"} else method, path)


def _schedule(
    key: str, kind: str, properties: dict[str, Any], resolver: _Resolver
) -> ScheduleEvent | None:
    on = resolver.value(properties.get("Enabled", True))
    state = resolver.value(properties.get("State", "ENABLED"))
    if str(on).lower() == "false" or str(state).upper() == "DISABLED":
        return None
    expression = properties.get("ScheduleExpression" if kind == "ScheduleV2" else "Schedule")
    given = properties.get("Input")
    return ScheduleEvent(
        name=str(resolver.value(properties.get("Name", key))),
        expression=str(resolver.value(expression)),
        timezone=str(resolver.value(properties.get("ScheduleExpressionTimezone", "UTC"))),
        input=None if given is None else str(resolver.value(given)),
    )
