"""Repairs of the theme's HTML, each for a fault that a checker found."""

from __future__ import annotations

import re

_SEARCH = 'data-md-component="search" role="dialog"'


def mend(html: str) -> str:
    """Return the page with names for what a screen reader could not name."""
    html = html.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')
    html = html.replace(' tabindex=""', "")
    html = re.sub(r'(<input\b[^>]*type="checkbox"[^>]*?) autocomplete="off"', r"\1", html)
    return re.sub(r'(<a id="__codelineno-[\d-]+") name="[^"]*"', r"\1", html)
