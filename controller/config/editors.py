"""The JSON Schema of the format, by which editors complete and check."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from controller.config.schema import TenantFile
from controller.config.schema_fabric import FabricFile

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(root: str | None = None) -> dict[str, Any]:
    """Return the JSON Schema of `FabricFile`, of `TenantFile`, or of either: one document whose `$defs` has both."""
    files = (FabricFile, TenantFile)
    _, document = models_json_schema([(file, "validation") for file in files], ref_template="#/$defs/{model}")
    definitions = document["$defs"]
    for definition in definitions.values():
        definition["properties"] = {key: _tidy(key, each) for key, each in definition["properties"].items()}
    roots = [{"$ref": f"#/$defs/{file.__name__}"} for file in files if root in (None, file.__name__)]
    return {
        "$schema": DIALECT,
        "title": "Weft topology",
        "description": "fabric.yaml is a FabricFile, each tenants/TENANT.yaml a TenantFile.",
        **({"anyOf": roots} if root is None else roots[0]),
        "$defs": definitions,
    }


def _tidy(key: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Say of a key what the loader does: no explicit null, but sections, and entries in them, may be left empty."""
    schema = {word: value for word, value in schema.items() if value is not None}
    if schema.get("title") == key.replace("_", " ").title():
        del schema["title"]  # It was made from the key.
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        schema = kinds[0] | {word: value for word, value in schema.items() if word != "anyOf"}
    elif kinds:
        schema["anyOf"] = kinds
    entries = schema.pop("patternProperties", {})
    for pattern, entry in entries.items():
        kinds = entry.get("anyOf", [entry])
        if any("$ref" in kind for kind in kinds) and key != "trunk":
            schema |= {"type": ["object", "null"], "additionalProperties": {"anyOf": [*kinds, {"type": "null"}]}}
        else:
            schema |= {"type": "object", "additionalProperties": entry}
        schema["propertyNames"] = {"pattern": pattern}
    return schema | ({"type": ["array", "null"]} if key == "tests" else {})
