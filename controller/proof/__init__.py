"""Proof: an oracle that knows the model alone, and the tenants' tests evaluated by it."""
