"""Tests that come with the package, for any cloud."""
