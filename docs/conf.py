"""How the pages become a site: `python -m sphinx -W --keep-going -n docs build/docs`.

Nothing is fetched: no type of another project is looked up on its site, and the theme brings
all that a page needs. What a reference may point to without a target is in the list below, each
with the reason; everything else that is not found ends the build.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from enum import Enum
from importlib import metadata
from pathlib import Path

import attrs
from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS), str(DOCS.parent)]

from site_links import on_site  # noqa: E402 - it lies beside this file

project = "meerkat"
copyright = "the meerkat developers"  # noqa: A001 - the name that Sphinx looks for
extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["README.md"]
templates_path: list[str] = []

try:
    release = metadata.version("meerkat-runtime")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    release = ""

# --- the pages, in MyST -------------------------------------------------------------------

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings: list[str] = []
nitpicky = True
nitpick_ignore_regex = [
    # The standard library's and other libraries' types: their sites are not asked at a build.
    (r"py:.*", r"(asyncio|collections|concurrent|contextlib|datetime|multiprocessing)\..*"),
    (r"py:.*", r"(pathlib|sqlite3|threading|types|typing|uuid)\..*"),
    (r"py:.*", r"(hypothesis|opentelemetry|prometheus_client|pykka)\..*"),
    # Python's own, by their bare names.
    (r"py:.*", r"[a-z]+|[A-Z][a-z]+(Error|Exception)|NoneType"),
    # Variables for types.
    (r"py:class", r".*\.(C|T|T_co)"),
    # Aliases that a type checker alone sees.
    (r"py:class", r"CompletionKind|EventHub|Message|OperationRecord|PartState"),
    # What only our own code passes; the signature is there for who reads the code.
    (r"py:class", r"actors\.(awaiting|light|replies|roster|settings|watching)\..*"),
    (r"py:class", r"actors\.(metrics|otel\.tracing)\..*"),
    (r"py:class", r"meerkat\.(driver_base|kernel|operations_registry)\..*"),
    (r"py:class", r"meerkat\.store\.sqlite_file\..*"),
    (r"py:class", r"meerkat\.testing\.(apsw_binding|machine_inputs|store_agreement)\..*"),
]

# --- the reference, from the docstrings ---------------------------------------------------

autodoc_default_options = {"members": True, "undoc-members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 80
python_use_unqualified_type_names = True
add_module_names = False

# --- how it looks -------------------------------------------------------------------------

html_theme = "furo"
html_title = f"meerkat {release}".strip()
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "github-dark"


def setup(app: Sphinx) -> None:
    """What the extensions leave to us."""
    app.connect("source-read", with_links_of_a_page)
    app.connect("include-read", with_links_of_a_file)
    app.connect("autodoc-process-signature", with_defaults_of_attrs)


def with_links_of_a_page(app: Sphinx, name: str, text: list[str]) -> None:
    """Read a page with the links that the site needs."""
    lies_at = app.env.doc2path(name, base=False)
    text[0] = on_site(text[0], f"docs/{lies_at}")


def with_links_of_a_file(_app: Sphinx, path: Path, _into: str, text: list[str]) -> None:
    """Read a file that a page includes, in the same way; its place is said from docs/."""
    text[0] = on_site(text[0], os.path.normpath(Path("docs") / path))


def with_defaults_of_attrs(
    _app: Sphinx,
    _what: str,
    _name: str,
    documented: object,
    _options: object,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """The signature with what a field is when it is not given, instead of where attrs looks."""
    if not (signature and inspect.isclass(documented) and attrs.has(documented)):
        return signature, returns
    defaults = {each.name: each.default for each in attrs.fields(documented)}
    written = re.sub(
        r"attr_dict\['(\w+)'\]\.default", lambda found: _written(defaults[found[1]]), signature
    )
    return written.replace("= NOTHING", "= ..."), returns  # made anew for each value


def _written(default: object) -> str:
    if isinstance(default, Enum):
        return f"{type(default).__name__}.{default.name}"
    return repr(default)
