"""Tests of the graph and its drawings."""
