"""Tests of what the documentation shows: its pages, and its snippets."""
