"""Write the generated parts of the documentation: `make docs`.

These are config/schema.json, the tables of keys in docs/configuration.md, the tables of results,
the list of packages, the diagram of imports, and the table and figure of the README.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import build_architecture
import build_figure
import build_replication
import build_results
import yaml

from dhl.config.schema import Config
from dhl.files import PROJECT, project_file

Schema = dict[str, Any]  # a JSON schema, or a part of one

SCHEMA = PROJECT / "config" / "schema.json"
PAGE = PROJECT / "docs" / "configuration.md"
BEGIN, END = "<!-- `make docs` writes the tables from here -->", "<!-- to here -->"
HEAD = "| key | type | default | range | meaning |\n| --- | --- | --- | --- | --- |"
# A preset may fill in keys of these models, so an editor cannot tell which are missing.
RECIPES = ("DenoisingTraining", "DenoiserRecipes", "WarmStart", "Recipe", "JointRecipe")
TYPES = {"integer": "whole number", "number": "number", "string": "text",
         "boolean": "true or false", "object": "mapping", "null": "null"}  # fmt: skip
LIMITS = {"minimum": "from {:g}", "exclusiveMinimum": "above {:g}", "maximum": "to {:g}",
          "exclusiveMaximum": "below {:g}", "minItems": "not empty"}  # fmt: skip


def config_schema() -> Schema:
    """Return the JSON schema of a configuration, `preset` included."""
    schema = Config.model_json_schema()
    preset = {
        "description": "recipes to start from; the configuration's own keys are merged over them",
        "enum": sorted(path.stem for path in project_file("config/presets").glob("*.yaml")),
    }
    properties = {"preset": preset} | schema.pop("properties")
    draft = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": draft, **schema, "title": "Configuration", "properties": properties}


def schema_text() -> str:
    """Return the schema for editors, in which the keys that a preset fills in are optional."""
    schema = config_schema()
    for name in RECIPES:
        schema["$defs"][name].pop("required", None)
    schema["$defs"]["DenoisingPart"]["required"].remove("training")
    return json.dumps(schema, indent=2) + "\n"


def page_text() -> str:
    """Return the page with up-to-date tables."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n\n{tables(config_schema())}\n\n{END}{after}"


def tables(schema: Schema) -> str:
    """Return a section for each model, a model before those inside it."""
    definitions, order, waiting = schema["$defs"], [], list(references(schema["properties"]))
    while waiting:
        name = waiting.pop(0)
        if name not in order:
            order.append(name)
            waiting = [*references(definitions[name]), *waiting]
    models = [schema, *(definitions[name] for name in order)]
    return "\n\n".join(section(model, definitions) for model in models)


def references(schema: Any) -> Iterator[str]:
    """Yield the names of the models that a schema refers to."""
    if isinstance(schema, list):
        schema = dict(enumerate(schema))
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"].rpartition("/")[2]
        for inner in schema.values():
            yield from references(inner)


def section(model: Schema, definitions: Schema) -> str:
    """Return the heading, the description and the table of a model."""
    rows = [
        (f"`{key}`", spell(field, definitions), default(key, model, definitions),
         ", ".join(limits(field)), field["description"])
        for key, field in model["properties"].items()
    ]  # fmt: skip
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    about = " ".join(model["description"].partition("\n\n")[0].split())
    return "\n".join([f"### {heading(model)}", "", about, "", HEAD, *lines])


def heading(model: Schema) -> str:
    """Return the name of a model; data is named by its kind."""
    if kind := model["properties"].get("kind"):
        return f"`kind: {kind.get('const', 'path/to/file.py:function')}`"
    return model["title"]


def spell(field: Schema, definitions: Schema) -> str:
    """Return the type of a key, with links to models."""
    if "$ref" in field:
        text = heading(definitions[field["$ref"].rpartition("/")[2]])
        return f"[{text}](#{re.sub(r'[^a-z0-9_ -]', '', text.lower()).replace(' ', '-')})"
    if choices := field.get("enum") or ([field["const"]] if "const" in field else None):
        return ", ".join(f"`{choice}`" for choice in choices)
    if union := alternatives(field):
        *others, last = (spell(one, definitions) for one in union)
        return f"{', '.join(others)} or {last}"
    if field["type"] == "array":
        return f"list of {spell(field['items'], definitions)}".replace("number", "numbers")
    if isinstance(values := field.get("additionalProperties"), dict):
        return f"{spell(values, definitions)} by name"
    return TYPES[field["type"]]


def alternatives(field: Schema) -> list[Schema]:
    """Return the alternative types of a key, those of nested unions included."""
    found = []
    for one in field.get("anyOf") or field.get("oneOf") or ():
        found += alternatives(one) or [one]
    return found


def limits(field: Schema) -> Iterator[str]:
    """Yield the limits of a key and of the values inside it."""
    for one in (field, *field.get("anyOf", ()), field.get("items", {})):
        yield from (text.format(one[name]) for name, text in LIMITS.items() if name in one)


def default(key: str, model: Schema, definitions: Schema) -> str:
    """Return the value of a key that is left out."""
    field = model["properties"][key]
    if key in model.get("required", ()):
        return "required"
    if "default" not in field:
        return "`{}`" if field.get("type") == "object" else ""
    value = field["default"]
    if "$ref" in field:
        keys = definitions[field["$ref"].rpartition("/")[2]]["properties"]
        value = {name: one for name, one in value.items() if one != keys[name].get("default", {})}
        if not value:
            return "its defaults"
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return f"`{text.splitlines()[0]}`"


def generated_blocks() -> dict[Path, dict[str, str]]:
    """Return the generated blocks of each page, by name."""
    packages = {"packages": build_architecture.package_table()}
    diagram = {"imports": build_architecture.diagram()}
    return {
        PROJECT / "README.md": {"answer": build_results.short_block()},
        PROJECT / "docs" / "architecture.md": packages | diagram,
        PROJECT / "docs" / "results.md": build_results.result_blocks(),
        PROJECT / "docs" / "replication.md": build_replication.replication_blocks(),
    }


def with_block(page: str, name: str, content: str) -> str:
    """Replace a generated block of a page, between two comments."""
    begin, end = f"<!-- `make docs` writes: {name} -->", "<!-- end -->"
    before, found, rest = page.partition(begin)
    if not found:
        raise ValueError(f"the page has no line {begin}")
    return f"{before}{begin}\n\n{content}\n\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), "utf-8")
    PAGE.write_text(page_text(), "utf-8")
    for path, blocks in generated_blocks().items():
        page = path.read_text("utf-8")
        for name, content in blocks.items():
            page = with_block(page, name, content)
        path.write_text(page, "utf-8")
    build_figure.draw_figure()
