"""What the tests of requests that name a store share."""

from __future__ import annotations

import json
import os

from nova import policy as nova_policy
import pytest
import webob
import webob.exc
import yaml

from nova_multistore import lookup
from tests.cloud import nova as cloud_nova
from tests.functional.api_filter import MIB
from tests.functional.api_filter import PROJECT
from tests.functional.api_filter import headers
from tests.functional.api_filter import without_the_filter


@pytest.fixture(scope='module')
def nova_is():
    """The filter in nova-api's pipelines, and a project."""
    return {'project': PROJECT, 'filtered': True}


@pytest.fixture
def nova(nova):
    """Nothing is remembered of what Glance said."""
    lookup.forget()
    nova.records.clear()
    return nova


@pytest.fixture(scope='module')
def base(glance, qcow2):
    """A base image in ``fast``."""
    return glance.create_image(qcow2, stores=['fast'], project=PROJECT)


@pytest.fixture(scope='module')
def server(patched_nova, base):
    """A server that lasts, with data of its own on its disk."""
    server = patched_nova.create_server(base)
    patched_nova.write_disk(server, os.urandom(MIB))
    return server


@pytest.fixture(scope='module')
def volume_backed(patched_nova):
    return patched_nova.create_server(volume_backed=True)


@pytest.fixture
def ask(nova, glance):
    """Send nova-api a request, past every client."""

    def ask(path, body, version='2.93', method='POST', **more):
        request = webob.Request.blank(
            path,
            method=method,
            body=body
            if isinstance(body, bytes)
            else json.dumps(body).encode(),
            content_type='application/json',
            headers={
                **headers(nova),
                'OpenStack-API-Version': f'compute {version}',
                **more,
            },
        )
        return request.get_response(nova.application)

    return ask


@pytest.fixture
def act(ask):
    """Ask for a snapshot or a backup."""

    def act(
        server, action='createImage', prefix='/v2.1', version='2.93', **more
    ):
        entity = {'name': 'x', **more}
        if action == 'createBackup':
            entity.update(backup_type='daily', rotation=1)
        path = f'{prefix}/servers/{server}/action'
        return ask(path, {action: entity}, version)

    return act


@pytest.fixture
def untouched(nova, glance, server):
    """No image was made, and the server is as it was."""

    def state():
        after = nova.server(server)
        return (
            {image['id'] for image in glance.images(nova.project)},
            after['OS-EXT-STS:task_state'],
            after['updated'],
        )

    before = state()
    yield
    assert state() == before


@pytest.fixture
def rules(nova, tmp_path):
    """Write Nova's policy file."""

    def rules(**changed):
        path = tmp_path / 'policy.yaml'
        path.write_text(yaml.safe_dump(changed))
        nova.conf(**{'oslo_policy.policy_file': str(path)})
        nova_policy.reset()

    before = cloud_nova.CONF.oslo_policy.policy_file
    yield rules
    nova.conf(**{'oslo_policy.policy_file': before})
    nova_policy.reset()


@pytest.fixture
def unfiltered():
    with without_the_filter():
        yield
