"""The engine's room: files, interfaces and connections in, programs and change sets out. All state is here."""

from controller.engine.engine import Engine
from controller.engine.intent import Report

__all__ = ["Engine", "Report"]
