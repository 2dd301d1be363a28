"""Tests on servers that stand beside Glance, or before it."""
