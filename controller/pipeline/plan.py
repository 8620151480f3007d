"""All features together: whatever file lies in `features/` takes part."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from controller.pipeline import features
from controller.pipeline.tables import Bridge, Feature, Pipeline


@cache
def pipeline() -> Pipeline:
    """Return the pipeline of all features found in `features/`, in the order of their tables."""
    names = [f"{features.__name__}.{module.name}" for module in pkgutil.iter_modules(features.__path__)]
    found: list[Feature] = [importlib.import_module(name).FEATURE for name in names]
    order = list(Bridge)
    found.sort(key=lambda f: min((order.index(t.stage.bridge), t.number) for t in f.tables))
    return Pipeline(tuple(found))
