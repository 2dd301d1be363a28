"""Sphinx settings of the release notes."""

project = 'nova-multistore release notes'
author = 'The nova-multistore maintainers'
copyright = f'2026, {author}'
version = release = ''

extensions = [
    'openstackdocstheme',
    'reno.sphinxext',
]
pygments_style = 'native'

html_theme = 'openstackdocs'
html_theme_options = {'show_other_versions': False}
openstackdocs_auto_name = False
openstackdocs_auto_version = False
