"""Tests of Weft: network stories on real parts."""
