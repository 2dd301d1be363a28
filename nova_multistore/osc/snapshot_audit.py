"""``multistore snapshot audit``: what is wrong with snapshots and backups."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING
from typing import Any

from keystoneauth1 import exceptions as auth_exceptions
from openstack import exceptions as sdk_exceptions
from osc_lib import exceptions
from osc_lib.cli import format_columns

from nova_multistore import audit
from nova_multistore import copies
from nova_multistore import exception
from nova_multistore import record
from nova_multistore import relocation
from nova_multistore import stores
from nova_multistore.osc import audit_source
from nova_multistore.osc import base
from nova_multistore.osc import image_pages
from nova_multistore.osc import in_use
from nova_multistore.osc import metrics
from nova_multistore.osc import nova_conf
from nova_multistore.osc import progress
from nova_multistore.osc import sizes

if TYPE_CHECKING:
    from collections.abc import Iterator
    import pathlib
    from typing import TextIO

    from nova_multistore.osc.cloud import Cloud

_COLUMNS = (
    'id',
    'name',
    'project_id',
    'status',
    'stores',
    'problem',
    'remedy',
)
# Why an audit could not begin, if that is not the user's mistake.
_FAILURES = (
    exceptions.CommandError,
    auth_exceptions.ClientException,
    sdk_exceptions.SDKException,
)


class AuditSnapshots(base.TotalsCommand):
    """List what is wrong with snapshots and backups

    Images without a problem are not listed. An image that has a record of the
    decision is checked by that record. Of other images, only copies are
    checked, unless --config-file says which store is the right one. The exit
    code is 0 if there is no problem left, 1 if no problem was mended, 3 if
    some were, and 4 if not everything could be looked at.
    """

    detailed = ('project_id',)

    _audit: _Audit | None = None

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        image_pages.add_all_projects(parser, 'Audit')
        nova_conf.add_option(parser, 'the compute hosts')
        audit_source.add_remote_stores(parser)
        parser.add_argument(
            '--fix',
            action='store_true',
            help='Make missing copies and complete moves (an image is deleted '
            'from the store that it leaves once another has all of it, and '
            'never otherwise)',
        )
        parser.add_argument(
            '--dry-run',
            action='store_true',
            help='With --fix: only show what would be done',
        )
        in_use.add_option(parser)
        base.add_timeout(parser, 'with --fix, for each image: ')
        metrics.add_option(
            parser, 'how many problems are left, and whether that is all,'
        )
        return parser

    def run(self, parsed_args: argparse.Namespace) -> int:
        try:
            code = super().run(parsed_args)
        except _FAILURES as exc:
            self.log.error('%s', exc)
            code = base.Outcome.UNKNOWN
        if not parsed_args.metrics or code == base.Outcome.USAGE:
            return code
        try:
            _write_metrics(parsed_args.metrics, self._audit)
        except base.UsageError as exc:
            self.log.error('%s', exc)
            return base.Outcome.USAGE
        return code

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
        settings = audit_source.settings(
            self.cloud, parsed_args.config_file, parsed_args.remote_stores
        )
        self._audit = _Audit(
            self.cloud, settings, parsed_args, self.app.stdout, self.app.stderr
        )
        metrics.check_whole(self, parsed_args)
        return _COLUMNS, self._audit.rows()

    def end(self) -> int:
        assert self._audit is not None
        return self._audit.end()


class _Audit:
    """One audit, from the first image to the exit code.

    :raises base.UsageError: the user has no project whose images to audit
    """

    def __init__(
        self,
        cloud: Cloud,
        settings: audit.Settings,
        parsed_args: argparse.Namespace,
        stdout: TextIO,
        stderr: TextIO,
    ) -> None:
        self._cloud = cloud
        self._source = audit_source.Source(cloud)
        self._settings = settings
        self._args = parsed_args
        self._in_use = in_use.InUse(
            cloud, settings.catalogue, parsed_args.even_in_use
        )
        self._stdout = stdout
        self._stderr = stderr
        self._totals = sizes.Totals(settings.catalogue.ids)
        self._found = 0
        self._mended = 0
        self._copied = 0
        # Numbers of images.
        self._recorded = 0
        self._unrecorded = 0
        self._error: exception.MultistoreError | None = None
        # Whether all pages were seen.
        self._whole = False
        self._filters = image_pages.owner(cloud, parsed_args.all_projects)

    @property
    def complete(self) -> bool:
        """Whether everything was looked at."""
        return self._whole and not self._source.untold

    @property
    def images(self) -> int:
        """How many images were looked at."""
        return self._recorded + self._unrecorded

    @property
    def problems(self) -> int:
        """How many problems were found, and not mended."""
        return self._found - self._mended

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Return a row for each problem, as soon as it is found."""
        try:
            for page in image_pages.pages(
                self._cloud,
                self._settings.catalogue,
                self._filters,
                show=progress.passing(self._stderr),
                remote=self._settings.remote,
            ):
                self._source.forget_servers()
                # The images of a page are as old as the page.
                now = datetime.datetime.now(datetime.timezone.utc)
                for image in page:
                    self._totals.add(image)
                    if record.read(image):
                        self._recorded += 1
                    else:
                        self._unrecorded += 1
                    yield from self._examine(image, now)
                self._stdout.flush()
            self._whole = True
        except exception.MultistoreError as exc:
            # The rows that were found are printed before it is said.
            self._error = exc

    def _examine(
        self, image: dict[str, Any], now: datetime.datetime
    ) -> Iterator[tuple[Any, ...]]:
        findings = audit.judge(
            image, self._settings, self._source.lookups, now
        )
        failures = self._mend(image, findings)
        moved = self._move(image, findings)
        present = format_columns.ListColumn(list(stores.of_image(image)))
        for finding in findings:
            self._found += 1
            yield (
                image['id'],
                image['name'],
                image['owner'],
                image['status'],
                present,
                finding.problem,
                self._remedy(finding, failures, moved),
            )

    def _mend(
        self, image: dict[str, Any], findings: list[audit.Finding]
    ) -> dict[str, str]:
        """Make missing copies, if the user wants that.

        :returns: by store, why there is no copy; empty if there is one now
        """
        lacking = [store for each in findings for store in each.copy_to]
        if not lacking or self._args.dry_run or not self._args.fix:
            return {}
        self._say(f'copying image {image["id"]} to {", ".join(lacking)}')
        try:
            made = copies.copy(
                self._cloud.images, image['id'], lacking, self._args.timeout
            )
        except exception.CopyInterrupted as exc:
            return dict.fromkeys(lacking, str(exc))
        except exception.MultistoreError as exc:
            return {s: f'not copied to {s}: {exc}' for s in lacking}
        return {
            copy.store: ''
            if copy.state is copies.State.DONE
            else f'not copied to {copy.store}: '
            f'{copy.reason or copy.state.value}'
            for copy in made
        }

    def _move(
        self, image: dict[str, Any], findings: list[audit.Finding]
    ) -> str:
        """Complete a move, if the user wants that.

        :returns: why it is not completed; empty if it is now, or there is none
        """
        move = next((each.move for each in findings if each.move), None)
        if move is None or self._args.dry_run or not self._args.fix:
            return ''
        self._say(f'moving image {image["id"]} to {move.target}')
        try:
            # What a list says of an image may be old.
            before = self._cloud.images.show(image['id'])
            [copy] = copies.copy(
                self._cloud.images,
                image['id'],
                [move.target],
                self._args.timeout,
            )
            if copy.failure:
                return copy.failure
            sources = relocation.Sources(
                self._settings.catalogue, self._in_use.why, [move.source]
            )
            proof = relocation.prove(
                self._cloud.images, before, move.target, sources
            )
            left = relocation.leave(self._cloud.images, proof, sources)
        except exception.MultistoreError as exc:
            return str(exc)
        return left.reasons.get(move.source) or ''

    def _remedy(
        self, finding: audit.Finding, failures: dict[str, str], moved: str
    ) -> str:
        """Return what to run, or what was or would be done.

        :param failures: by store, why there is no copy
        :param moved: why a move was not completed, empty if it was
        """
        if finding.move and self._args.fix:
            if self._args.dry_run:
                return f'to be moved to {finding.move.target}'
            if moved:
                return f'not moved to {finding.move.target}: {moved}'
            self._mended += 1
            self._copied += 1
            return f'moved to {finding.move.target}'
        if not finding.copy_to or not self._args.fix:
            return finding.remedy
        if self._args.dry_run:
            return f'to be copied to {", ".join(finding.copy_to)}'
        copied = [s for s in finding.copy_to if not failures[s]]
        failed = [s for s in finding.copy_to if failures[s]]
        self._copied += len(copied)
        self._mended += not failed
        said = [f'copied to {store}' for store in copied]
        said += [failures[store] for store in failed]
        return '; '.join(dict.fromkeys(said))

    def end(self) -> int:
        """Print the totals.

        :returns: the exit code
        """
        self._totals.show(self._stderr)
        self._say(
            f'{sizes.count(self._recorded, "image")} with a record of the '
            f'decision, {self._unrecorded} without'
        )
        self._say(
            f'{sizes.count(self._found, "problem")}, {self._mended} mended'
        )
        if self._error is not None:
            self._say(f'{self._error}; not all images were audited')
        elif self._source.untold:
            servers = sizes.count(self._source.untold, 'server')
            self._say(
                f'Nova did not show {servers}: problems that depend on them '
                'were not looked for'
            )
        if not self.complete:
            return base.Outcome.UNKNOWN
        if not self.problems:
            return base.Outcome.DONE
        return base.Outcome.PARTLY if self._copied else base.Outcome.FAILED

    def _say(self, words: str) -> None:
        # After the rows that were found before.
        self._stdout.flush()
        self._stderr.write(f'{words}\n')
        self._stderr.flush()


def _write_metrics(path: pathlib.Path, found: _Audit | None) -> None:
    """Write a file that node-exporter reads.

    :param path: where it is
    :param found: the audit, None if it could not begin
    :raises UsageError: it cannot be written
    """
    figures = metrics.Metrics('multistore_audit')
    problems = found.problems if found else 0
    complete = found.complete if found else False
    # A problem that nobody looked for is not a problem less.
    if problems or complete:
        figures.gauge(
            'problems', 'Problems of snapshots and backups that are left.'
        ).set(problems)
    figures.gauge('images', 'Snapshots and backups that were looked at.').set(
        found.images if found else 0
    )
    figures.gauge('complete', '1 if everything was looked at, 0 if not.').set(
        complete
    )
    figures.write(path, 'When the audit ended.')
