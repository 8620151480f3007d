"""The containers: their files as they stand, and running in a private engine."""
