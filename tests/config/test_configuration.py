"""The schema and the tables of keys are up to date; another sigma retrains no other model."""

import json
import runpy

import pytest
import yaml
from settings import shipped

from dhl.config.methods import TASKS
from dhl.config.parse import parse_config
from dhl.files import PROJECT
from dhl.run.fingerprints import settings_fingerprint
from dhl.run.model_graph import all_models

BUILD = runpy.run_path(str(PROJECT / "docs" / "build.py"))
CONFIGS = [*sorted((PROJECT / "config").glob("*.yaml")), PROJECT / "docs/examples/own.yaml"]


def test_make_docs_would_change_nothing():
    assert BUILD["SCHEMA"].read_text() == BUILD["schema_text"]()
    assert BUILD["PAGE"].read_text() == BUILD["page_text"]()


def test_every_key_has_a_description():
    schema = BUILD["config_schema"]()
    for model in (schema, *schema["$defs"].values()):
        assert model["description"]
        for key, field in model["properties"].items():
            assert field.get("description"), f"{model['title']}.{key}"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_editor_finds_no_mistake_in_a_shipped_configuration(path):
    jsonschema = pytest.importorskip("jsonschema")
    text = path.read_text()
    named = text.partition("$schema=")[2].splitlines()[0]
    schema = json.loads((path.parent / named).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(text), schema)


@pytest.mark.parametrize(
    "mistake", [{"sigmas": [25]}, {"seeds": 0}, {"preset": "autors"}, {"parts": {}}]
)
def test_an_editor_finds_mistakes(mistake):
    jsonschema = pytest.importorskip("jsonschema")
    content = shipped("laboratory", **mistake)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, json.loads(BUILD["schema_text"]()))


def test_another_noise_level_trains_only_models_of_that_level():
    content = shipped("smoke")
    before = parse_config(content, source="smoke.yaml")
    for part in TASKS:
        content["parts"][part]["sigmas"].append(75)
    after = parse_config(content, source="smoke.yaml")
    new = set(all_models(after)) - set(all_models(before))
    assert new
    assert all("/sigma75" in key for key in new)
    for key in all_models(before):
        assert settings_fingerprint(before, key) == settings_fingerprint(after, key)
