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
def test_landing(results, case, order):
    """Stock Nova's, and that with the package."""
    assert matrix.expected(case, order) == results[case, order]
