"""The law: what must hold of the two runs of one configuration."""

from __future__ import annotations

import collections

from tests.twin import steps

#: How much longer a step may take with the package, in seconds.
SLOWER = 3.0


def compare(stock: steps.Twin, patched: steps.Twin) -> list[str]:
    """Return what does not hold, in words.

    :param stock: what came of the steps with stock Nova
    :param patched: what came of them with the package
    """
    found = []
    for before, after in zip(stock.outcomes, patched.outcomes):
        name = ' '.join(before.step)
        if before.ok and not after.ok:
            found.append(f'{name}: fails: {after.words}')
        elif before.ok and after.seconds > before.seconds + SLOWER:
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
    return found


def _more(found: list[str], before: list[str]) -> list[tuple[str, int]]:
    difference = collections.Counter(found)
    difference.subtract(collections.Counter(before))
    return [
        (what, number) for what, number in difference.items() if number > 0
    ]
