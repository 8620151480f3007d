"""One file per feature. `controller.pipeline.compile` finds them here; nothing is registered elsewhere."""
