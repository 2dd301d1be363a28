"""Run a configuration with stock Nova and with the package."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
import contextlib
from pathlib import Path
import time
from typing import Any

# Before anything else that imports Nova, or what Nova has to patch.
from tests.cloud import nova as cloud_nova  # noqa: F401

# isort: split

from tests.twin import knobs
from tests.twin import law
from tests.twin import steps as twin_steps
from tests.twin import world as twin_world


@contextlib.contextmanager
def world(root: Path, in_ceph: bool) -> Iterator[twin_world.World]:
    """Run what all configurations share.

    :param root: an existing directory for all that is written
    :param in_ceph: whether disks are in Ceph
    """
    with contextlib.ExitStack() as stack:
        ceph = None
        if in_ceph:
            # Where there is no Ceph, this is not imported.
            from tests.cloud import ceph as cloud_ceph

            (root / 'ceph').mkdir()
            ceph = stack.enter_context(
                cloud_ceph.Ceph(
                    *(root / 'ceph', ('vms', 'images')),
                    size=2 << 30,
                    users=knobs.CAPS,
                )
            )
        yield twin_world.World(root, stack, ceph)


def pair(
    there: twin_world.World,
    configuration: Mapping[str, str],
    steps: Sequence[twin_steps.Step],
    seed: int = 1,
    slower: float = law.SLOWER,
) -> tuple[twin_steps.Twin, twin_steps.Twin, list[str]]:
    """Run both; run both again if the law does not hold.

    :param slower: how much longer a step may take, in seconds
    :returns: stock, patched, and what does not hold both times
    """
    broken: list[str] = []
    for _attempt in range(2):
        twins = []
        for patched in (False, True):
            with there.cloud(configuration, patched, seed) as cloud:
                twins.append(twin_steps.Steps(cloud).run(steps))
        stock, after = twins
        found = law.compare(stock, after, configuration, slower)
        if not found:
            return stock, after, []
        broken = broken or found
    # What was seen first is said: the same step fails for the same cause.
    return stock, after, broken


def short(
    there: twin_world.World, configuration: Mapping[str, str]
) -> tuple[list[twin_steps.Image], list[str]]:
    """Run both in a test: other tests run beside it, so time tells little.

    :returns: the images that stock Nova makes, and what does not hold
    """
    stock, _, broken = pair(
        there, configuration, twin_steps.SHORT, slower=60.0
    )
    return [i for o in stock.outcomes for i in o.images], broken


def shrink(
    there: twin_world.World,
    configuration: Mapping[str, str],
    steps: Sequence[twin_steps.Step],
    seed: int,
) -> tuple[dict[str, str], list[twin_steps.Step], list[str]]:
    """Leave out what is not needed to break the law.

    :returns: the configuration, the steps, and what does not hold
    """
    small, few = dict(configuration), list(steps)
    broken: list[str] = []
    for name in configuration:
        less = {k: v for k, v in small.items() if k != name}
        if found := pair(there, less, few, seed)[2]:
            small, broken = less, found
    for step in reversed(steps):
        fewer = [s for s in few if s is not step]
        if found := pair(there, small, fewer, seed)[2]:
            few, broken = fewer, found
    return small, few, broken


def chunk(
    root: Path,
    seeds: Iterable[int],
    in_ceph: bool,
    until: float = float('inf'),
    smaller: bool = False,
    fixed: Mapping[str, str] | None = None,
) -> Iterator[dict[str, Any]]:
    """Run the configurations of seeds.

    :param until: none is begun after it, in seconds since the epoch
    :param smaller: whether to shrink what breaks the law
    :param fixed: knobs, with values that all configurations have
    :returns: what came of each, as JSON has it
    """
    with world(root, in_ceph) as there:
        for seed in seeds:
            if time.time() > until:
                return
            begin = time.monotonic()
            configuration = {**knobs.draw(seed, there.where), **(fixed or {})}
            steps = twin_steps.draw(seed)
            stock, patched, broken = pair(there, configuration, steps, seed)
            found = {
                'seed': seed,
                'where': there.where,
                'configuration': configuration,
                'history': steps,
                'steps': len(steps),
                'stock': sum(o.ok for o in stock.outcomes),
                'patched': sum(o.ok for o in patched.outcomes),
                'failed': [
                    [' '.join(o.step), o.words]
                    for o in stock.outcomes
                    if not o.ok
                ],
                'warnings': sorted(set(patched.warnings)),
                'broken': broken,
            }
            if broken and smaller:
                found['small'] = shrink(there, configuration, steps, seed)
            yield {**found, 'seconds': time.monotonic() - begin}
