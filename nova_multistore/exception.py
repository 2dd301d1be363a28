"""What can go wrong, one class for each cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultistoreError(Exception):
    """Base of every error that this package raises."""


class LookupFailed(MultistoreError):
    """Raised if Glance did not say what was asked of it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        #: Why, in words.
        self.reason = reason


class GlanceAway(LookupFailed):
    """Raised if Glance cannot be reached now, or has a failure of its own."""


class GlanceRefused(MultistoreError):
    """Raised if Glance will not do what was asked of it."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f'Glance refuses: {reason} (HTTP {status})')
        #: The answer's status.
        self.status = status
        #: Why, in Glance's words.
        self.reason = reason


class CopyInterrupted(MultistoreError):
    """Raised if Glance makes copies of an image that cannot be followed."""

    def __init__(
        self, stores: Sequence[str], cause: GlanceRefused | LookupFailed
    ) -> None:
        #: Whether the image was deleted meanwhile.
        self.deleted = isinstance(cause, GlanceRefused) and (
            cause.status in (404, 410)
        )
        where = ', '.join(stores)
        super().__init__(
            'the image was deleted while Glance copied it, and its data may '
            f'be left in {where}'
            if self.deleted
            else f'it is not known whether Glance copies it to {where} '
            f'({cause})'
        )
        #: Ids of the stores to which it is copied.
        self.stores = tuple(stores)
        #: What keeps from following.
        self.cause = cause


class StoreRefused(MultistoreError):
    """Raised if a store that was ordered cannot take the data."""

    def __init__(self, store: str, valid: Sequence[str], reason: str) -> None:
        if valid:
            stores = f'the stores that can be written are {", ".join(valid)}'
        else:
            stores = 'Glance is not configured with several stores'
        # A user may have written it.
        super().__init__(f'store {store!r} {reason}; {stores}')
        #: Id of the store that was ordered.
        self.store = store
        #: Ids of the stores that can be written, in Glance's order.
        self.valid = tuple(valid)


class UnknownStore(StoreRefused):
    """Raised if Glance does not list the store."""

    def __init__(self, store: str, valid: Sequence[str]) -> None:
        super().__init__(store, valid, "is not one of Glance's stores")


class ReadOnlyStore(StoreRefused):
    """Raised if Glance lists the store as read-only."""

    def __init__(self, store: str, valid: Sequence[str]) -> None:
        super().__init__(store, valid, 'is read-only')


class UnsupportedNova(MultistoreError):
    """Raised if the installed Nova is not one that can be patched."""

    def __init__(self, version: str, problems: Sequence[str]) -> None:
        super().__init__(
            f'Nova {version} is not supported: {"; ".join(problems)}'
        )
        #: Version of the installed Nova.
        self.version = version
        #: What does not fit, in words, one entry for each seam.
        self.problems = tuple(problems)
