"""Configurations from a seed, run with stock Nova and with the package.

The law: what succeeds with stock succeeds with the package; the bytes are the
same; where an image lands is what the table of the rules says, or a WARNING
and the record say why; nothing more is left behind; no step is much slower.
"""
