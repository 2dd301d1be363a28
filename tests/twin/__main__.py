"""Run configurations, and print what does not hold.

Usage: python -m tests.twin [--seed N] [--count N] [--minutes M] [--ceph]
                            [--eventlet] [--knob NAME=VALUE]... [--shrink]
                            [--log FILE]

Each seed is a configuration and a list of steps. They are run with stock Nova
and with the package; what differs is run once more, so that flukes do not
count. With --eventlet, nova-compute runs on that. Each --knob has a value in
all configurations, whatever the seed. With --shrink, what differs then is made
as small as it gets. The exit code is 1 if the law does not hold.

`python -m tests.twin.table FILE...` makes the documentation's table of logs.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
import traceback
from typing import Any

from tests.twin import knobs

#: How many configurations one process runs; a new one begins afresh.
CHUNK = 15


def run(args: argparse.Namespace) -> None:
    """Run a chunk, and end this process, whatever still runs in it."""
    # Before anything else that imports Nova, or what Nova has to patch.
    from tests.twin import runner

    try:
        with tempfile.TemporaryDirectory(prefix='twin-') as root:
            for found in runner.chunk(
                Path(root),
                range(args.seed, args.seed + args.count),
                args.ceph,
                args.until,
                args.shrink,
                dict(args.knob),
            ):
                print(json.dumps(found), flush=True)
    except BaseException:
        # Nova would log it, and say nothing.
        traceback.print_exc(file=sys.__stderr__)
    finally:
        sys.stdout.flush()
        os._exit(0)


def _chunks(args: argparse.Namespace) -> Any:
    """Run processes one after the other, and yield what they found."""
    seed = args.seed
    until = time.time() + 60 * args.minutes
    while time.time() < until:
        count = min(CHUNK, args.seed + args.count - seed)
        if count <= 0:
            return
        process = subprocess.Popen(
            [
                *(sys.executable, '-W', 'ignore', '-m', 'tests.twin'),
                *('--seed', str(seed), '--count', str(count)),
                *('--until', str(until), '--inside'),
                *(['--ceph'] if args.ceph else []),
                *(['--shrink'] if args.shrink else []),
                *(f'--knob={name}={value}' for name, value in args.knob),
            ],
            env={
                **os.environ,
                'OS_NOVA_DISABLE_EVENTLET_PATCHING': str(
                    int(not args.eventlet)
                ),
            },
            stdout=subprocess.PIPE,
            stderr=None if args.verbose else subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        done = 0
        for line in process.stdout:
            if line.startswith('{'):
                done += 1
                yield json.loads(line)
        process.wait()
        if done < count and time.time() < until:
            yield {'seed': seed + done, 'ended': True}
            done += 1
        seed += done


def _knob(text: str) -> tuple[str, str]:
    """Read a knob and its value."""
    name, _, value = text.partition('=')
    return name, value


def main() -> int:
    parser = argparse.ArgumentParser(prog='twin')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--minutes', type=float, default=5)
    parser.add_argument('--count', type=int, default=1 << 30)
    parser.add_argument('--ceph', action='store_true')
    parser.add_argument('--eventlet', action='store_true')
    parser.add_argument('--knob', type=_knob, action='append', default=[])
    parser.add_argument('--verbose', action='store_true')
    parser.add_argument('--shrink', action='store_true')
    parser.add_argument('--log', type=Path)
    parser.add_argument('--inside', action='store_true')
    parser.add_argument('--until', type=float, default=float('inf'))
    args = parser.parse_args()
    try:
        knobs.check(dict(args.knob), knobs.CEPH if args.ceph else knobs.FILES)
    except ValueError as exc:
        parser.error(str(exc))
    if args.inside:
        run(args)
    pairs = wrong = 0
    for found in _chunks(args):
        if args.log:
            with args.log.open('a') as log:
                log.write(
                    json.dumps({'eventlet': args.eventlet, **found}) + '\n'
                )
        if found.get('ended'):
            print(f'seed {found["seed"]}: its process ended', flush=True)
            wrong += 1
            continue
        pairs += 1
        wrong += bool(found['broken'])
        print(
            f'seed {found["seed"]}: {found["steps"]} steps, {found["stock"]} '
            f'succeed with stock, {found["patched"]} with the package, '
            f'{found["seconds"]:.0f} s'
        )
        if found['broken']:
            print(f'  {found["configuration"]}\n  {found["history"]}')
            print(*(f'  BROKEN: {line}' for line in found['broken']), sep='\n')
        if 'small' in found:
            configuration, steps, _ = found['small']
            print(f'  enough: {configuration}\n  {steps}')
        sys.stdout.flush()
    print(f'{pairs} pairs, {wrong} of them with a difference')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
