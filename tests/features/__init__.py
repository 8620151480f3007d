"""A small topology per feature, and the flows that the feature writes for it."""
