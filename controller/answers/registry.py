"""All answerers: whatever file lies in this room takes part."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from controller import answers
from controller.answers.asked import Answerer
from controller.pipeline.questions import Question


class Contested(ValueError):
    """Two files answer one question: a defect of the code."""


@cache
def answerers() -> Mapping[Question, Answerer]:
    """Return the answerer of each question that a file of this room answers."""
    found: dict[Question, Answerer] = {}
    for module in pkgutil.iter_modules(answers.__path__):
        table = getattr(importlib.import_module(f"{answers.__name__}.{module.name}"), "ANSWERS", {})
        for question, answerer in table.items():
            if question in found:
                raise Contested(f"{module.name} answers {question.name}, which another file does as well")
            found[question] = answerer
    return found
