"""Write the pages of the documentation that are made from the code; with `--check`, only say which are out of date."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from picture import picture

from controller import config
from controller.config.editors import json_schema
from controller.config.reference import format_reference
from controller.graph.draw import draw
from controller.graph.fabric import Fabric
from controller.pipeline.reference import pipeline_reference

HERE = Path(__file__).resolve().parent


def schema() -> str:
    """Return what the first line of each example topology points editors at."""
    return json.dumps(json_schema(None), indent=2, ensure_ascii=False) + "\n"


def quickstart() -> str:
    """Return the drawing of the quickstart, whose places are relative to the repository."""
    os.chdir(HERE.parent)
    topology = config.load(Path("topologies/quickstart")).topology
    if topology is None:
        raise SystemExit("topologies/quickstart is refused; see weft validate")
    return draw(Fabric(topology), "svg")


PAGES: dict[str, Callable[[], str]] = {
    "topology.schema.json": schema,
    "format.md": format_reference,
    "pipeline.md": pipeline_reference,
    "pipeline.svg": picture,
    "quickstart.svg": quickstart,
}


def main(arguments: list[str]) -> int:
    """Return 1 if `--check` is given and a page differs from what the code says now."""
    stale = []
    for name, make in PAGES.items():
        page, text = HERE / name, make()
        if page.exists() and page.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            page.write_text(text, encoding="utf-8")
            print(f"docs/{name} written")
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(f'docs/{name}' for name in stale)}; run make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
