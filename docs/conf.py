"""The site: ``make docs``. Nothing of it is fetched from a network."""

import re
import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'projects'))

import ahpcl  # noqa: E402

project = 'AHPCL'
author = 'the AHPCL contributors'
release = version = ahpcl.__version__
html_title = f'AHPCL {version}'

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
]
exclude_patterns = ['_build', 'notebooks']
html_theme = 'furo'
html_math_renderer = 'mathml'
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
suppress_warnings = ['config.cache']

# Pages are read on the repository's web view, too, and by the same links.
myst_enable_extensions = ['dollarmath']
myst_fence_as_directive = ['math']
myst_heading_anchors = 4

autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
autodoc_member_order = 'bysource'
autodoc_class_signature = 'mixed'
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# Docstrings write names in single backticks.
default_role = 'code'

_INCLUDE = re.compile(r'```{include} \.\./(\S+)\n```')
_BESIDE_DOCS = re.compile(
    r'\]\((?:\.\./)+(README_zh-CN|CONTRIBUTING|CHANGELOG|README)\.md'
)


def lead_to_pages(app: Sphinx, docname: str, source: list[str]) -> None:
    """Include files of the repository's root, and lead links to their pages.

    myst's own ``include`` would leave the links of such a file pointing from
    here, and links to such a file at the file.
    """
    text = _INCLUDE.sub(lambda found: _from_root(app, found[1]), source[0])
    source[0] = _BESIDE_DOCS.sub(_to_page, text)


def _from_root(app: Sphinx, name: str) -> str:
    app.env.note_dependency(str(HERE.parent / name))
    text = (HERE.parent / name).read_text('utf-8')
    return re.sub(
        r'\]\((?!https?:|#)(docs/)?',
        lambda found: '](' if found[1] else '](../',
        text,
    )


def _to_page(found: re.Match) -> str:
    name = found[1]
    return f'](/{"index" if name == "README" else name}.md'


def escape_bars(
    app: Sphinx, what: str, name: str, of: object, options: object, lines: list
) -> None:
    """Let the bars of a norm in a docstring be bars."""
    lines[:] = [
        line.replace('|', r'\|')
        if line.count('|') > 1 and '`' not in line and '>>>' not in line
        else line
        for line in lines
    ]


def inline_math(writer: nodes.NodeVisitor, node: nodes.math) -> None:
    """Write a formula within a line as MathML."""
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(writer: nodes.NodeVisitor, node: nodes.math_block) -> None:
    """Write a formula of its own as MathML, which needs no script."""
    formula = latex2mathml.tex2mathml(node.astext(), as_block=True)
    space = 'style="margin: 1em 0"'
    writer.body.append(f'<div class="math" {space}>{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Connect what is above."""
    app.connect('source-read', lead_to_pages)
    app.connect('autodoc-process-docstring', escape_bars)
    app.add_html_math_renderer(
        'mathml',
        inline_renderers=(inline_math, None),
        block_renderers=(block_math, None),
    )
