"""Repairs of the theme's HTML, each for a fault that a checker found."""

from __future__ import annotations

import re

# Where a section has a page of its own, the label that should name its list is an icon.
_SECTION = re.compile(
    r'aria-labelledby="[^"]*"(?P<between>[^>]*>\s*<label class="md-nav__title"[^>]*>'
    r'\s*<span class="md-nav__icon md-icon"></span>)(?P<title>[^<]*)'
)
_NOT_FOLDED = '<label class="md-nav__title">'
_MESSAGE = 'data-md-component="dialog"'
_SEARCH = 'data-md-component="search" role="dialog"'


def mend(html: str) -> str:
    """Return the page with names for what a screen reader could not name."""
    html = html.replace(_SEARCH, f'{_SEARCH} aria-label="Search"')
    # The theme says there what was copied.
    html = html.replace(_MESSAGE, f'{_MESSAGE} role="status"')
    # The header's logo has its name in letters; the theme's label says less than they do.
    html = re.sub(r'(class="md-header__button md-logo") aria-label="[^"]*"', r"\1", html)
    html = _SECTION.sub(_named_section, html)
    if 'id="__toc"' not in html:
        # The label of a list that is not folded on this page.
        html = html.replace('<label class="md-nav__title" for="__toc">', _NOT_FOLDED)
    # The corner of a table heads nothing.
    html = html.replace("<th></th>", "<td></td>")
    html = html.replace(' tabindex=""', "")
    html = re.sub(r'(<input\b[^>]*type="checkbox"[^>]*?) autocomplete="off"', r"\1", html)
    return re.sub(r'(<a id="__codelineno-[\d-]+") name="[^"]*"', r"\1", html)


def _named_section(found: re.Match[str]) -> str:
    title = " ".join(found["title"].split())
    return f'aria-label="{title}"{found["between"]}{found["title"]}'
