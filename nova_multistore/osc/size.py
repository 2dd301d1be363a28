"""Numbers of bytes, for people and for programs."""

from __future__ import annotations

from cliff import columns

_UNITS = ('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')


def words(size: float) -> str:
    """Say how much it is.

    :param size: in bytes
    """
    for unit in _UNITS:
        if size < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f'{size:.0f} {unit}' if unit == 'B' else f'{size:.1f} {unit}'


class SizeColumn(columns.FormattableColumn):  # type: ignore[type-arg]
    """A number of bytes, or None."""

    def human_readable(self) -> str:
        return '' if self._value is None else words(self._value)
