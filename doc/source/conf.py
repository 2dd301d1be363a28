"""Sphinx settings of the documentation."""

import nova_multistore

project = 'nova-multistore'
author = 'The nova-multistore maintainers'
copyright = f'2026, {author}'
version = release = nova_multistore.__version__

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxext',
    'sphinx.ext.autodoc',
]
nitpicky = True
pygments_style = 'native'

html_theme = 'openstackdocs'
html_theme_options = {
    'display_global_toc_section': True,
    'show_other_versions': False,
}
openstackdocs_auto_name = False
openstackdocs_auto_version = False
