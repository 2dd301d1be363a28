"""What the package wraps or relies on in Nova and in Glance."""

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
    """A function or method, and how the package expects it to be."""

    module: str
    #: Its name in the module, such as ``Class.method``.
    name: str
    #: The names of its parameters, in their order.
    parameters: tuple[str, ...]
    #: What the package puts around it; None if the package only calls it.
    #: :meth:`adapt` says how a wrapper is called.
    wrapper: Callable[..., Any] | None = None

    def find(self) -> tuple[Any, str, Any]:
        """Find the function in the installed Nova or Glance.

        :returns: the module or class that has it, its name there, and the
            function itself
        """
        parent, attribute, original = wrapt.resolve_path(
            self.module, self.name
        )
        return parent, attribute, original

    def problem(self) -> str | None:
        """Compare the function with the installed Nova or Glance.

        :returns: the difference, in words; None if there is none
        """
        try:
            found = tuple(inspect.signature(self.find()[2]).parameters)
        except (ImportError, AttributeError, TypeError, ValueError) as exc:
            return f'{self.module}.{self.name} cannot be found ({exc})'
        if found == self.parameters:
            return None
        return (
            f'{self.module}.{self.name} takes ({", ".join(found)}), not '
            f'({", ".join(self.parameters)})'
        )

    def adapt(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """Turn a wrapper into one that wrapt can call.

        The wrapper gets two positional arguments: a function that calls
        Nova's own code, and the object whose method was called. Nova's
        arguments follow, by name. Nova's own code gets the same arguments,
        except for those that the wrapper passes to the function.

        :param wrapper: the wrapper
        """
        signature = inspect.Signature(
            [
                inspect.Parameter(
                    name, inspect.Parameter.POSITIONAL_OR_KEYWORD
                )
                for name in self.parameters
                if name != 'self'
            ]
        )

        def adapted(
            wrapped: Callable[..., Any],
            instance: Any,
            args: tuple[Any, ...],
            kwargs: dict[str, Any],
        ) -> Any:
            given = signature.bind_partial(*args, **kwargs).arguments

            def proceed(**changed: Any) -> Any:
                if not changed:
                    return wrapped(*args, **kwargs)
                return wrapped(**{**given, **changed})

            return wrapper(proceed, instance, **given)

        return adapted
