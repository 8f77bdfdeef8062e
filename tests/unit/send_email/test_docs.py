"""docs/email.md says what the models say."""

import json
import re
from pathlib import Path

import pytest

from functions.send_email.models import TEMPLATES

PAGE = (Path(__file__).parents[3] / "docs" / "email.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_template_is_described_with_its_fields_and_its_example(name: str) -> None:
    section = PAGE.partition(f"### {name}\n")[2].partition("\n#")[0]
    fields = re.findall(r"^\| `(\w+)` \|[^|]*(?:\\\|[^|]*)*\| *(required)?", section, re.MULTILINE)
    model = TEMPLATES[name]
    assert {field: bool(required) for field, required in fields} == {
        str(field.alias): field.is_required() for field in model.model_fields.values()
    }
    (example,) = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert json.loads(example) == {
        "to": "ada@example.com",
        "template": name,
        "data": model.example(),
    }
