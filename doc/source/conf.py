"""Sphinx settings of the documentation."""

import pathlib
import sys

import nova_multistore

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

project = 'nova-multistore'
author = 'The nova-multistore maintainers'
copyright = f'2026, {author}'
version = release = nova_multistore.__version__

extensions = [
    'oslo_config.sphinxext',
    'sequence',
    'sphinx.ext.autodoc',
    'sphinx.ext.graphviz',
]
nitpicky = True
# Where nothing else is said, it is the output of a command.
highlight_language = 'none'
graphviz_output_format = 'svg'

html_theme = 'furo'
html_title = f'nova-multistore {version}'
html_static_path = ['_static']
html_css_files = ['pictures.css']
