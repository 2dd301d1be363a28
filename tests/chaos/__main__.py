"""Run histories and print what became of the snapshots.

Usage: python -m tests.chaos [--seeds N ...] [--steps N] [--minutes M]
                             [--rate R] [--stock]

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

#: What nova-compute is not the cause of, or an operator is told of.
TOLERATED = (
    'left by nova-api, reported by the audit',
    'left by nova-compute, reported by the audit',
    'nova-api leaves a server busy',
)


def run(seed: int, args: argparse.Namespace) -> dict[str, object]:
    """Run one history in this process."""
    from tests.chaos import world

    with (
        tempfile.TemporaryDirectory(prefix='chaos-') as root,
        world.World(Path(root), seed, not args.stock, args.rate) as history,
    ):
        tally = history.tally
        end = time.monotonic() + 60 * args.minutes
        for _ in range(args.steps):
            history.step()
            print(vars(tally), file=sys.__stderr__, flush=True)
            if time.monotonic() > end:
                break
        history.end()
    return {'seed': seed, **vars(tally)}


def main() -> int:
    parser = argparse.ArgumentParser(prog='chaos')
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    parser.add_argument('--steps', type=int, default=40)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--rate', type=float, default=0.1)
    parser.add_argument('--stock', action='store_true')
    parser.add_argument('--json', action='store_true')
    args = parser.parse_args()
    if args.json:
        try:
            print(json.dumps(run(args.seeds[0], args)))
        except Exception:
            # Nova would log it, and say nothing.
            traceback.print_exc(file=sys.__stderr__)
            return 1
        return 0
    wrong = False
    totals: collections.Counter[str] = collections.Counter()
    for seed in args.seeds:
        # In a process of its own: a history may leave what it likes.
        done = subprocess.run(
            [
                *(sys.executable, '-W', 'ignore', '-m', 'tests.chaos'),
                *('--json', '--seeds', str(seed)),
                *('--steps', str(args.steps)),
                *('--minutes', str(args.minutes)),
                *('--rate', str(args.rate)),
                *(['--stock'] if args.stock else []),
            ],
            env={'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1', **os.environ},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f'seed {seed}: exit code {done.returncode}')
            wrong = True
            continue
        found = json.loads(done.stdout.splitlines()[-1])
        print(
            f'seed {seed}: {found["asked"]} asked, {found["whole"]} whole, '
            f'{found["failed"]} failed, faults {sum(found["faults"].values())}'
        )
        for what in ('asked', 'whole', 'failed'):
            totals[what] += found[what]
        totals['faults'] += sum(found['faults'].values())
        totals.update(found['broken'])
        for what, number in found['broken'].items():
            print(f'  {number} {what}')
            wrong = wrong or what not in TOLERATED
        for line in found['details']:
            print(f'    {line[:400]}')
        sys.stdout.flush()
    print(', '.join(f'{number} {what}' for what, number in totals.items()))
    return int(wrong)


if __name__ == '__main__':
    sys.exit(main())
