"""Light pages: one style sheet with what pages use, and code without what no reader sees.

A hook of MkDocs, because only MkDocs has whole pages. The theme's style sheets hold rules for
everything that it can do. Here those go whose classes stand on no page and in no script.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import tinycss2
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import Files

_BLOCK = re.compile(
    r'(?P<head><div class="(?!command )[^"]*\bhighlight"[^>]*>'
    r'(?:<span class="filename">[^<]*</span>)?'
    r"<pre><span></span><code>)(?P<code>.*?)</code></pre>",
    re.S,
)
_NUMBER = re.compile(r'<span class="linenos" data-linenos=" *(\d+) *"></span>')
#: Names, punctuation and spaces have the colour of their surroundings.
_PLAIN = re.compile(r'<span class="(?:n|nn|p|w)">([^<]*)</span>')
_CLASSES = re.compile(r'class="([^"]*)"')
_WORD = re.compile(r"[\w-]+")
_VARIABLE = re.compile(r"var\(\s*(--[\w-]+)")
#: What the theme's script has names for and no page has: notes on code, versions, tags, stars.
_ABSENT = ("md-annotation", "md-source__fact", "md-status", "md-tag", "md-version")
#: All pages are written from the left to the right.
_FROM_THE_RIGHT = "[dir=rtl]"
_used: set[str] = set()
_sheets: list[Path] = []


def on_config(config: MkDocsConfig, **_: Any) -> None:
    """Name the one style sheet after what it is made of, and the scripts at the foot of a page."""
    theme = next(each for each in map(Path, config.theme.dirs) if (each / "base.html").is_file())
    own = Path(config.docs_dir, "assets/javascript")
    _used.clear()
    bundles = [*theme.glob("assets/javascripts/bundle.*.js")]
    for script in [*bundles, *own.rglob("*.js")]:
        _used.update(_WORD.findall(script.read_text(encoding="utf-8")))
    at_the_foot = [script for script in config.extra_javascript if isinstance(script, str)]
    names = [bundle.relative_to(theme).as_posix() for bundle in bundles]
    config.extra["scripts"] = [*names, *at_the_foot]
    _sheets.clear()
    for name in ("main", "palette"):
        _sheets.extend(theme.glob(f"assets/stylesheets/{name}.*.css"))
    _sheets.extend(Path(config.docs_dir, each) for each in config.extra_css)
    digest = hashlib.sha256(b"".join(sheet.read_bytes() for sheet in _sheets)).hexdigest()
    config.extra["stylesheet"] = f"assets/css/handbook.{digest[:8]}.css"
    config.extra_css = []


def on_files(files: Files, **_: Any) -> Files:
    """Leave the sheets out that the one is made of."""
    for file in list(files):
        if file.abs_src_path and Path(file.abs_src_path) in _sheets:
            files.remove(file)
    return files


@event_priority(-100)
def on_post_page(output: str, **_: Any) -> str:
    """Take the weight out of a page when all else is done to it, and note the classes on it."""
    lighter = lighten(output)
    note(lighter)
    return lighter


def on_post_template(output_content: str, template_name: str, **_: Any) -> None:
    """Note the classes on the page for addresses that do not exist."""
    if template_name.endswith(".html"):
        note(output_content)


def on_post_build(config: MkDocsConfig, **_: Any) -> None:
    """Write the style sheet."""
    css = "\n".join(sheet.read_text(encoding="utf-8") for sheet in _sheets)
    file = Path(config.site_dir, config.extra["stylesheet"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(purge(css, _used), encoding="utf-8")


def note(html: str) -> None:
    """Note the classes of a page, and its style's variables."""
    for classes in _CLASSES.findall(html):
        _used.update(classes.split())
    _used.update(_VARIABLE.findall(html))
    _used.update(re.findall(r'data-md-color-\w+="([\w-]+)"', html))


@lru_cache(maxsize=256)
def lighten(html: str) -> str:
    """Return the page with one element for all line numbers of a block, and no idle spans."""
    return _BLOCK.sub(_lighter, html)


def _lighter(block: re.Match[str]) -> str:
    numbers = "&#10;".join(number.rjust(3) for number in _NUMBER.findall(block["code"]))
    code = _PLAIN.sub(r"\1", _NUMBER.sub("", block["code"]))
    column = f'<span class="linenos" data-linenos="{numbers}"></span>' if numbers else ""
    return f"{block['head']}{column}{code}</code></pre>"


@dataclass(frozen=True)
class Rule:
    """Some selectors, each with the classes that it needs, and declarations: name and text."""

    selectors: tuple[tuple[str, frozenset[str]], ...]
    declarations: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Group:
    """Rules that hold under a condition."""

    condition: str
    rules: tuple[Any, ...]


def purge(css: str, used: set[str]) -> str:
    """Return the rules of which every class is among the used words, as they stand."""
    begun = tuple(word for word in used if word.endswith("-"))  # a script adds the rest of the name
    rules = _parsed(css)
    text, before = _text(rules, used, begun, set(_VARIABLE.findall(css))), ""
    while text != before:
        text, before = _text(rules, used, begun, set(_VARIABLE.findall(text))), text
    return text


def _text(rules: Iterable[Any], used: set[str], begun: Sequence[str], variables: set[str]) -> str:
    kept = []
    for rule in rules:
        if isinstance(rule, str):
            kept.append(rule)
        elif isinstance(rule, Group):
            if inside := _text(rule.rules, used, begun, variables):
                kept.append(f"{rule.condition}{{{inside}}}")
        else:
            selectors = [
                text
                for text, needs in rule.selectors
                if all(each in used or each.startswith(begun) for each in needs)
                if not any(each.startswith(_ABSENT) for each in needs)
                if _FROM_THE_RIGHT not in text
            ]
            declarations = [
                text
                for name, text in rule.declarations
                if not name.startswith("--") or name in variables or name in used
            ]
            if selectors and declarations:
                kept.append(f"{','.join(selectors)}{{{';'.join(declarations)}}}")
    return "".join(kept)


@cache
def _parsed(css: str) -> tuple[Any, ...]:
    return tuple(_rules(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True)))


def _rules(nodes: Iterable[Any]) -> Iterable[Any]:
    for node in nodes:
        if node.type == "qualified-rule":
            yield Rule(tuple(_selectors(node.prelude)), tuple(_declarations(node.content)))
        elif node.type == "at-rule" and node.lower_at_keyword in {"media", "supports"}:
            inside = tinycss2.parse_rule_list(
                node.content, skip_comments=True, skip_whitespace=True
            )
            condition = f"@{node.at_keyword}{tinycss2.serialize(node.prelude).rstrip()}"
            yield Group(condition, tuple(_rules(inside)))
        else:
            yield node.serialize()


def _selectors(prelude: Iterable[Any]) -> Iterable[tuple[str, frozenset[str]]]:
    """Yield each selector of a list. What stands in brackets is not looked at."""
    part: list[Any] = []
    for token in [*prelude, None]:
        if token is None or token == ",":
            names = {
                name.value for dot, name in pairwise(part) if dot == "." and name.type == "ident"
            }
            colours = (_WORD.findall(tinycss2.serialize(each.content)) for each in _brackets(part))
            names.update(words[1] for words in colours if words[0].startswith("data-md-color-"))
            yield tinycss2.serialize(part).strip(), frozenset(names)
            part = []
        elif token.type != "comment":
            part.append(token)


def _brackets(tokens: Iterable[Any]) -> Iterable[Any]:
    return (token for token in tokens if token.type == "[] block" and len(token.content) > 1)


def _declarations(content: Sequence[Any]) -> Iterable[tuple[str, str]]:
    parsed = tinycss2.parse_blocks_contents(content, skip_comments=True, skip_whitespace=True)
    names = {node.name for node in parsed if node.type == "declaration"}
    for node in parsed:
        name = node.name if node.type == "declaration" else ""
        if name.startswith("-webkit-mask") and name.removeprefix("-webkit-") in names:
            continue  # all browsers know the plain name by now
        yield name, " ".join(node.serialize().rstrip(";").split())
