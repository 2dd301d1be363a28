"""The law: what must hold of the two runs of one configuration."""

from __future__ import annotations

import collections
from collections.abc import Iterable

from tests.twin import steps

_ORDERS = ('[glance] store', 'copy_to', 'move_to')
_QUOTAS = (
    'user_storage_quota',
    'limits of Keystone',
    'image_size_cap',
    'image_location_quota',
    'image_property_quota',
)
_OBJECTS = ('store cheap', 'store reliable')
_RIGHTS = ('glance policy', 'property protection')
#: What the package may say at WARNING and above, and the knobs one of which is
#: the cause.
CAUSES = {
    'could not be checked now': _ORDERS,
    'is wrong, %(effect)s': _ORDERS,
    'move_to is ignored': ('move_to',),
    'stays in store': ('move_to',),
    'has no copy in': _ORDERS,
    'gets no copy': _ORDERS,
    'goes to %(store)s: %(reason)s [rule': (*_ORDERS, 'api_servers'),
    'The copy of image %(image)s in store': _QUOTAS,
    'of a snapshot that failed was not deleted': (*_RIGHTS, 'api_servers'),
    'does not let Nova change the properties': (*_RIGHTS, *_QUOTAS),
    'sending it again from its first byte': (
        *('api_servers', 'workers', 'web server'),
        *_QUOTAS,
    ),
    'again without its size': (*_QUOTAS, *_OBJECTS),
    'did not take image': (*_QUOTAS, 'api_servers', *_OBJECTS),
    'was sent to store': ('api_servers',),
    'which Nova found by itself': _ORDERS,
    'needs a copy in': ('images_rbd_glance_store_name',),
    'Nova searches for another pool': ('rbd_user',),
    'The property %(name)s': (*_RIGHTS, *_QUOTAS, 'api_servers'),
}
#: How much longer a step may take with the package, in seconds.
SLOWER = 3.0


def compare(
    stock: steps.Twin,
    patched: steps.Twin,
    configured: Iterable[str],
    slower: float = SLOWER,
) -> list[str]:
    """Return what does not hold, in words.

    :param stock: what came of the steps with stock Nova
    :param patched: what came of them with the package
    :param configured: the knobs that are not at their default
    :param slower: how much longer a step may take, in seconds
    """
    found = []
    for before, after in zip(stock.outcomes, patched.outcomes):
        name = ' '.join(before.step)
        if before.ok and not after.ok:
            found.append(f'{name}: fails: {after.words}')
        elif before.ok and after.seconds > before.seconds + slower:
            found.append(
                f'{name}: {after.seconds:.1f} s, stock {before.seconds:.1f} s'
            )
        elsewhere = [image for image in after.images if image.elsewhere]
        found += [
            f'{name}: in {",".join(image.stores)} instead of '
            f'{",".join(image.expected)}, and its record does not say why'
            for image in elsewhere
            if not image.difference
        ]
        if elsewhere and not patched.warnings:
            found.append(f'{name}: elsewhere without a WARNING')
    found += [
        f'{number} more left: {what}'
        for what, number in _more(patched.left_over, stock.left_over)
    ]
    if all(
        before.ok == after.ok
        for before, after in zip(stock.outcomes, patched.outcomes)
    ):
        found += [
            f'{number} more of: image {what}'
            for what, number in _more(patched.images, stock.images)
        ]
    found += [
        f'without a cause: {warning}'
        for warning in sorted(set(patched.warnings))
        if not _has_cause(warning, set(configured))
    ]
    return found


def _has_cause(warning: str, configured: set[str]) -> bool:
    return any(
        words in warning and configured & set(knobs)
        for words, knobs in CAUSES.items()
    )


def _more(found: list[str], before: list[str]) -> list[tuple[str, int]]:
    difference = collections.Counter(found)
    difference.subtract(collections.Counter(before))
    return [
        (what, number) for what, number in difference.items() if number > 0
    ]
