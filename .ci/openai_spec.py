"""Cuts the paths that `fedai serve` has out of OpenAI's published description of its API, with all they refer to.

usage: openai_spec.py openapi.json COMMIT > .ci/openai-paths.json

The source is https://github.com/openai/openai-openapi (MIT licence, Copyright OpenAI); the result names the commit.
Descriptions and examples are left out: they are three quarters of it, and no test reads them. What is changed is
changed here and nowhere else: every answer that is no success is an error object, as OpenAI's own are; streams, whose
description is that of what the events carry, are events of any kind, also those of completions, which it forgets; the
numbers of an embedding may be in base64, which it offers and does not describe.
"""

import json
import sys

OPERATIONS = {
    "/models": ["get"],
    "/models/{model}": ["get"],
    "/chat/completions": ["post"],
    "/completions": ["post"],
    "/embeddings": ["post"],
}
# For people and for OpenAI's own site.
UNREAD = ("description", "summary", "examples", "example", "title", "externalDocs")


def without_words(value, is_named=False):
    """Without what no test reads. Below `properties` and the like, names are names and stay."""
    if isinstance(value, list):
        return [without_words(item) for item in value]
    if not isinstance(value, dict):
        return value
    if is_named:
        return {name: without_words(item) for name, item in value.items()}
    names = ("properties", "schemas", "responses", "content")
    return {
        name: without_words(item, name in names)
        for name, item in value.items()
        if name not in UNREAD and not name.startswith("x-")
    }


def referred(value):
    """Names of all schemas that a value refers to directly."""
    if isinstance(value, dict):
        reference = value.get("$ref")
        if isinstance(reference, str):
            yield reference.removeprefix("#/components/schemas/")
        for name, item in value.items():
            if name != "discriminator":
                yield from referred(item)
    elif isinstance(value, list):
        for item in value:
            yield from referred(item)


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        whole = json.load(file)
    paths = {
        path: {method: whole["paths"][path][method] for method in methods}
        for path, methods in OPERATIONS.items()
    }
    error = {"$ref": "#/components/schemas/ErrorResponse"}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        operation.pop("security", None)
        good = {status: answer for status, answer in operation["responses"].items() if status.startswith("2")}
        bad = {"description": "", "content": {"application/json": {"schema": error}}}
        operation["responses"] = {**good, "default": bad}
    events = {"text/event-stream": {"schema": {}}}
    for path in ("/chat/completions", "/completions"):
        paths[path]["post"]["responses"]["200"]["content"].update(events)
    numbers = whole["components"]["schemas"]["Embedding"]["properties"]
    numbers["embedding"] = {"anyOf": [numbers["embedding"], {"type": "string"}]}
    paths = {path: without_words(methods, True) for path, methods in paths.items()}
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for response in operation["responses"].values():
            response["description"] = ""
    needed, schemas = list(referred(paths)), {}
    while needed:
        name = needed.pop()
        if name not in schemas:
            schemas[name] = without_words(whole["components"]["schemas"][name])
            needed.extend(referred(schemas[name]))
    result = {
        "openapi": whole["openapi"],
        "info": {
            "title": "OpenAI API, the paths that fedai serve has",
            "description": "MIT licence, Copyright (c) OpenAI. Cut by .ci/openai_spec.py from "
            f"github.com/openai/openai-openapi at {sys.argv[2]}",
            "version": whole["info"]["version"],
            "license": whole["info"]["license"],
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }
    json.dump(result, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
