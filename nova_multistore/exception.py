"""The errors that the package raises, one class for each cause."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class MultistoreError(Exception):
    """Base of every error that this package raises."""


class LookupFailed(MultistoreError):
    """Raised if the answer to a question is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        #: Why, in words.
        self.reason = reason


class ServiceAway(LookupFailed):
    """Raised if a service does not answer now, or answers that it failed."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        #: Status of the answer, 500 or more; None if there was no answer.
        self.status = status


class ImageGone(LookupFailed):
    """Raised if an image is deleted, or not visible to the caller."""


class AuthenticationFailed(LookupFailed):
    """Raised if Keystone does not give the caller a token."""


class GlanceRefused(MultistoreError):
    """Raised if Glance refuses a request."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f'Glance refuses: {reason} (HTTP {status})')
        #: HTTP status of the answer.
        self.status = status
        #: Why, in Glance's words.
        self.reason = reason

    @property
    def is_gone(self) -> bool:
        """Whether what was asked for is not there, or not visible."""
        return self.status in (404, 410)


class CopyInterrupted(MultistoreError):
    """Raised if Glance copies an image, and stops telling how far it is."""

    def __init__(
        self, stores: Sequence[str], cause: GlanceRefused | LookupFailed
    ) -> None:
        #: Whether the image was deleted meanwhile.
        self.deleted = isinstance(cause, GlanceRefused) and cause.is_gone
        where = ', '.join(stores)
        super().__init__(
            'the image was deleted while Glance copied it, and its data may '
            f'be left in {where}'
            if self.deleted
            else f'it is not known whether Glance copies it to {where} '
            f'({cause})'
        )
        #: Ids of the stores to which Glance copies the image.
        self.stores = tuple(stores)
        #: The error that ended the watching.
        self.cause = cause


class NotWhole(MultistoreError):
    """Raised if it is not certain that a store has all of an image."""

    def __init__(self, image_id: str, problems: Sequence[str]) -> None:
        super().__init__(
            f'image {image_id} was not deleted anywhere: {"; ".join(problems)}'
        )
        #: What is not as it should be, in words.
        self.problems = tuple(problems)


class ForeignImage(MultistoreError):
    """Raised if an image belongs to another project than expected."""

    def __init__(self, owner: str | None, expected: str) -> None:
        super().__init__(
            f'the image belongs to project {owner}, its server to {expected}'
        )
        #: Id of the project that owns the image.
        self.owner = owner


class StoreRefused(MultistoreError):
    """Raised if the store that somebody asked for cannot take the data."""

    def __init__(self, store: str, valid: Sequence[str], reason: str) -> None:
        if valid:
            stores = f'the stores that can be written are {", ".join(valid)}'
        else:
            stores = 'Glance is not configured with several stores'
        # A user may have written the id.
        super().__init__(f'store {store!r} {reason}; {stores}')
        #: Id of that store.
        self.store = store
        #: Ids of the stores that can be written to, in Glance's order.
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
    """Raised if the package does not fit the installed Nova."""

    def __init__(self, version: str, problems: Sequence[str]) -> None:
        super().__init__(
            f'Nova {version} is not supported: {"; ".join(problems)}'
        )
        #: Version of the installed Nova.
        self.version = version
        #: What does not fit, in words; one entry for each difference.
        self.problems = tuple(problems)
