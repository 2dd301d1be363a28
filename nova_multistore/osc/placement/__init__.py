"""Which images belong in which stores: the commands, and their file."""
