"""Where snapshots land, over all that decides."""

from __future__ import annotations

import pathlib

import pytest

from tests.ceph import matrix
from tests.demo import table

PAGE = pathlib.Path(__file__).parents[2] / 'doc' / 'source' / 'ceph-matrix.txt'


@pytest.fixture(scope='module')
def results(stock_cloud):
    """All of it, in one run; the documentation shows it."""
    results = matrix.Matrix(stock_cloud).run()
    PAGE.write_text(table(list(matrix.rows(results))) + '\n')
    return results


def test_nothing_is_left_in_ceph(stock_cloud, results):
    """Nothing but images of Glance and disks of servers."""
    assert stock_cloud.left_over() == []


@pytest.mark.parametrize('order', matrix.ORDERS)
@pytest.mark.parametrize('case', matrix.CASES, ids=str)
class TestLanding:
    """One case."""

    def test_stock(self, results, case, order):
        """Nova clones where it finds the pool, whoever wants what."""
        found = case.parent or (case.shown and 'fast' in case.base)

        landing = results[case, order][0]

        assert (
            matrix.Landing(
                'fast' if found else 'cheap', direct=bool(found), whole=True
            )
            == landing
        )

    def test_patched(self, results, case, order):
        """An order is obeyed; else the base image decides."""
        store = order or ('fast' if 'fast' in case.base else 'cheap')

        landing = results[case, order][1]

        assert (
            matrix.Landing(store, direct=store != 'cheap', whole=True)
            == landing
        )
