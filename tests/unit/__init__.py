"""Tests that need no service."""

from __future__ import annotations

import configparser


def pipelines(text: str) -> dict[tuple[str, str], list[str]]:
    """Return the words of each value of an INI file, by section and name."""
    parser = configparser.RawConfigParser(default_section='')
    parser.read_string(text)
    return {
        (section, name): value.split()
        for section in parser.sections()
        for name, value in parser[section].items()
    }
