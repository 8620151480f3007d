"""The flow language, the table map, rules and numbers."""
