"""The package's filter in a Glance that stands still at a step."""

from __future__ import annotations

from pathlib import Path
import time

import wrapt

from nova_multistore.glance import base_image
from nova_multistore.glance import delta

STEPS = {
    'rbd:RBD.clone',
    'rbd:Image.create_snap',
    'rbd:Image.protect_snap',
    'nova_multistore.glance.delta:Delta._flatten',
    'nova_multistore.glance.delta:Delta._write',
    'nova_multistore.glance.delta_add:_tell',
}


def filter_factory(global_conf, step, **local_conf):
    """Make the filter.

    :param step: path of a file with "before" or "after" and the name of a
        function. Glance removes it when it is there
    """
    path = Path(step)
    for name in STEPS:
        module, attribute = name.split(':')
        wrapper = _stopping(path, name)
        if module == 'rbd':
            # These are compiled.
            setattr(
                delta.librbd,
                attribute.split('.')[0],
                _subclass(attribute, wrapper),
            )
        else:
            wrapt.wrap_function_wrapper(module, attribute, wrapper)
    return base_image.filter_factory(global_conf, **local_conf)


def _subclass(attribute, wrapper):
    parent, method = attribute.split('.')
    base = getattr(delta.librbd, parent)

    def called(self, *args, **kwargs):
        return wrapper(getattr(super(made, self), method), self, args, kwargs)

    made = type(parent, (base,), {method: called})
    return made


def _stopping(path, name):
    def stopping(wrapped, _instance, args, kwargs):
        _stop(path, f'before {name}')
        result = wrapped(*args, **kwargs)
        _stop(path, f'after {name}')
        return result

    return stopping


def _stop(path, here):
    if path.exists() and path.read_text() == here:
        path.unlink()
        time.sleep(600)
