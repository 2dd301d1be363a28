"""How a wrapper is called, and what reaches Nova's own code."""

from __future__ import annotations

import pytest
import wrapt

from nova_multistore.seam import Seam


class Nova:
    """Its own code, which returns what it gets."""

    def act(self, context, image_id, data=None):
        return context, image_id, data


SEAM = Seam(__name__, 'Nova.act', ('self', 'context', 'image_id', 'data'))


@pytest.fixture
def act(monkeypatch):
    """Wrap it, and return how to call it on an object."""

    def act(wrapper):
        monkeypatch.setattr(Nova, 'act', vars(Nova)['act'])
        wrapt.wrap_function_wrapper(__name__, 'Nova.act', SEAM.adapt(wrapper))
        return Nova().act

    return act


CALLS = [
    (('c', 'i'), {}),
    (('c',), {'image_id': 'i'}),
    ((), {'image_id': 'i', 'context': 'c'}),
]


@pytest.mark.parametrize(('args', 'kwargs'), CALLS)
def test_names(act, args, kwargs):
    """However Nova passes its arguments, the wrapper gets them by name."""

    def wrapper(proceed, owner, /, **given):
        assert isinstance(owner, Nova)
        assert given == {'context': 'c', 'image_id': 'i'}
        return proceed()

    assert act(wrapper)(*args, **kwargs) == ('c', 'i', None)


@pytest.mark.parametrize(('args', 'kwargs'), CALLS)
def test_change(act, args, kwargs):
    """What a wrapper changes is changed, and nothing else."""

    def wrapper(proceed, _owner, /, image_id, **_rest):
        return proceed(image_id=image_id.upper(), data='d')

    assert act(wrapper)(*args, **kwargs) == ('c', 'I', 'd')


def test_unknown_argument(act):
    """It is an error, as it is without the wrapper."""
    with pytest.raises(TypeError, match='other'):
        act(lambda proceed, owner, /, **given: proceed())('c', 'i', other=1)


def test_problem():
    """A seam that is as expected has none; another says what differs."""
    assert SEAM.problem() is None
    other = Seam(__name__, 'Nova.act', ('self', 'context'))
    assert 'takes (self, context, image_id, data), not (self, context)' in (
        other.problem()
    )
    assert 'cannot be found' in Seam(__name__, 'Nova.x', ()).problem()
