"""The tempest plugin. Nothing else of the package imports it."""
