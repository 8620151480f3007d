"""Tests of the config room: files in, a topology or problems out."""
