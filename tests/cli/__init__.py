"""Tests of the `weft` command as a user meets it."""
