"""A callable of Nova that the package wraps or relies on."""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING
from typing import Any

import wrapt

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class Seam:
    """Where it is, and how it is called."""

    module: str
    name: str
    parameters: tuple[str, ...]
    wrapper: Callable[..., Any] | None = None

    def find(self) -> tuple[Any, str, Any]:
        """Return what holds it, its name there, and the callable itself."""
        parent, attribute, original = wrapt.resolve_path(
            self.module, self.name
        )
        return parent, attribute, original

    def problem(self) -> str | None:
        """Say how it differs from what is expected, None if it does not."""
        try:
            found = tuple(inspect.signature(self.find()[2]).parameters)
        except (ImportError, AttributeError, TypeError, ValueError) as exc:
            return f'{self.module}.{self.name} is not there ({exc})'
        if found == self.parameters:
            return None
        return (
            f'{self.module}.{self.name} takes ({", ".join(found)}), not '
            f'({", ".join(self.parameters)})'
        )
