"""template.yaml as CloudFormation gets it: by SAM's own translator, with its conditions decided.

The translator is in SAM's environment (`make build` makes it), since it pins an older pydantic.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local.template import _Resolver
from tests.programs import SAM

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".venv-deploy" / "bin" / "python"
CODE = "s3://packaged/code.zip"
DROPPED = {"Ref": "AWS::NoValue"}

# One process translates all that is asked for: its imports take longer than ten translations.
TRANSLATOR = """
import copy, json, logging, sys
logging.disable(logging.CRITICAL)
import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
template = yaml_parse(open(sys.argv[1]).read())
session = boto3.Session(region_name="us-east-1")
for line in sys.stdin:
    code, layer, parameters = json.loads(line)
    document = copy.deepcopy(template)
    for resource in document["Resources"].values():
        properties = resource.get("Properties", {})
        for name in {"CodeUri", "ContentUri"} & properties.keys():
            properties[name] = layer if name == "ContentUri" else code
    translator = Translator({}, Parser(), boto_session=session)
    translated = translator.translate(document, parameter_values=parameters)
    print(json.dumps(translated), flush=True)
"""


@functools.cache
def _translator() -> subprocess.Popen[str]:
    if not PYTHON.exists():
        SAM.skip()
    process = subprocess.Popen(
        [PYTHON, "-W", "ignore", "-c", TRANSLATOR, ROOT / "template.yaml"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")},
    )
    atexit.register(process.communicate)
    return process


@functools.cache
def _translated(parameters: str, layer: str = CODE) -> str:
    process = _translator()
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps([CODE, layer, json.loads(parameters)]) + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        _translator.cache_clear()
        pytest.fail(f"SAM cannot translate template.yaml:\n{process.communicate()[1]}")
    return answer


def translate(**parameters: str) -> dict[str, Any]:
    """What `sam deploy` with these parameters would create: resources whose condition does not hold
    are left out, and each `Fn::If` is decided."""
    document: dict[str, Any] = json.loads(_translated(json.dumps(parameters, sort_keys=True)))
    return decide(document, parameters)


def translated(**parameters: str) -> dict[str, Any]:
    """The same, with its conditions still in it."""
    return translate_with(CODE, parameters)


def translate_with(layer: str, parameters: dict[str, str]) -> dict[str, Any]:
    """The same, with this layer's address."""
    document: dict[str, Any] = json.loads(
        _translated(json.dumps(parameters, sort_keys=True), layer)
    )
    return document


def decide(document: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """A template with its conditions decided and no longer in it."""
    resolver = _Resolver(document, parameters, {})
    wanted = {
        section: {
            name: {key: each for key, each in thing.items() if key != "Condition"}
            for name, thing in document.get(section, {}).items()
            if resolver.is_wanted(thing)
        }
        for section in ("Resources", "Outputs")
    }
    rest = {key: each for key, each in document.items() if key not in {*wanted, "Conditions"}}
    decided: dict[str, Any] = _decide(rest | wanted, resolver)
    return decided


def _decide(thing: Any, resolver: _Resolver) -> Any:
    if isinstance(thing, dict) and "Fn::If" in thing:
        condition, yes, no = thing["Fn::If"]
        chosen = yes if resolver.is_wanted({"Condition": condition}) else no
        return _decide(chosen, resolver)
    if isinstance(thing, dict):
        decided = {name: _decide(each, resolver) for name, each in thing.items()}
        return {name: each for name, each in decided.items() if each != DROPPED}
    if isinstance(thing, list):
        return [each for each in (_decide(each, resolver) for each in thing) if each != DROPPED]
    return thing
