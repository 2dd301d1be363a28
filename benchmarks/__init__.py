"""What the package costs: stock and patched Nova side by side."""
