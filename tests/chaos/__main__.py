"""Run histories and print what became of the snapshots.

Usage: python -m tests.chaos [--seeds N ...] [--steps N] [--minutes M]
                             [--rate R] [--stock] [--ceph]

Each seed is a history of its own, in a cloud of its own. It is the same
history each time: the same actions and the same faults, as far as threads
allow. The exit code is 1 if something is wrong that the package answers for.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

#: What nova-compute is not the cause of, or an operator is told of.
TOLERATED = (
    'left by nova-api, reported by the audit',
    'left by nova-compute, whose token has expired, reported by the audit',
    'nova-api leaves a server busy',
)


def run(args: argparse.Namespace) -> None:
    """Run one history, and end this process.

    A cloud in which something hangs is not taken down: all that was started
    ends with the process.
    """
    code = 1
    try:
        print(json.dumps(_history(args)), flush=True)
        code = 0
    except BaseException:
        # Nova would log it, and say nothing.
        traceback.print_exc(file=sys.__stderr__)
    os._exit(code)


def _history(args: argparse.Namespace) -> dict[str, object]:
    from tests.chaos import history
    from tests.chaos import world

    [seed] = args.seeds
    cloud = world.World(args.root, seed, not args.stock, args.ceph, args.rate)
    cloud.start()
    done = history.History(cloud, seed)
    end = time.monotonic() + 60 * args.minutes
    for _ in range(args.steps):
        done.step()
        if time.monotonic() > end:
            break
    cloud.end()
    return {'seed': seed, **vars(cloud.tally)}


def _in_a_process(seed: int, args: argparse.Namespace) -> dict[str, object]:
    """Run one history in a process of its own: it may leave what it likes.

    :returns: what came of it, empty if it failed
    """
    with tempfile.TemporaryDirectory(prefix='chaos-') as root:
        done = subprocess.run(
            [
                *(sys.executable, '-W', 'ignore', '-m', 'tests.chaos'),
                *('--root', root, '--seeds', str(seed)),
                *('--steps', str(args.steps)),
                *('--minutes', str(args.minutes)),
                *('--rate', str(args.rate)),
                *(['--stock'] if args.stock else []),
                *(['--ceph'] if args.ceph else []),
            ],
            env={'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1', **os.environ},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
    if done.returncode:
        return {}
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog='chaos')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    parser.add_argument('--steps', type=int, default=40)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--rate', type=float, default=0.1)
    parser.add_argument('--stock', action='store_true')
    parser.add_argument('--ceph', action='store_true')
    parser.add_argument('--root', type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.root:
        run(args)
    wrong = False
    totals: collections.Counter[str] = collections.Counter()
    for seed in args.seeds:
        found: dict[str, Any] = _in_a_process(seed, args)
        if not found:
            print(f'seed {seed}: it did not end')
            wrong = True
            continue
        met = sum(found['faults'].values())
        print(
            f'seed {seed}: {found["asked"]} asked, {found["whole"]} whole, '
            f'{found["failed"]} failed, {met} faults in {found["requests"]} '
            f'requests, memory {found["grown"] / (1 << 20):+.0f} MiB since '
            'step 10'
        )
        for what in ('asked', 'whole', 'failed'):
            totals[what] += found[what]
        totals['faults'] += met
        totals['requests'] += found['requests']
        totals.update(found['broken'])
        for what, number in found['broken'].items():
            print(f'  {number} {what}')
            wrong = wrong or what not in TOLERATED
        for line in found['details']:
            print(f'    {line[:6000]}')
        sys.stdout.flush()
    print(', '.join(f'{number} {what}' for what, number in totals.items()))
    return int(wrong)


if __name__ == '__main__':
    sys.exit(main())
