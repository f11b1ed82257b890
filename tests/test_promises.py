"""The page of promises names tests and options that there are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
SOURCES = {path: path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py")}


def defined():
    return {
        node.name
        for source in SOURCES.values()
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }


def test_each_test_that_a_promise_names_is_there():
    named = re.findall(r"`(test_\w+)`", PAGE)
    assert len(named) > 50
    assert sorted(set(named) - defined()) == []


def test_each_promise_names_a_test():
    promises = re.split(r"\n\* ", PAGE)[1:]
    assert len(promises) > 20
    for promise in promises:
        own = promise.partition("\n\n")[0]
        assert "`test_" in own, own.splitlines()[0]


def test_each_option_is_looked_for_by_a_test_and_set_by_make():
    options = set(re.findall(r"`(NPNN_\w+)`", PAGE))
    campaigns = re.search(r"CAMPAIGNS := (.*?[^\\])\n", (ROOT / "Makefile").read_text(), re.S)
    set_by_make = dict(re.findall(r"(NPNN_\w+)=(\d+)", campaigns[1]))
    assert set(set_by_make) == options
    for option in options:
        assert any(f'environ.get("{option}"' in source for source in SOURCES.values()), option
        size = f"{int(set_by_make[option]):,}"
        assert re.search(rf"`{option}` \|.*\| {size} \|", PAGE), option


def test_each_option_is_named_by_a_file_that_make_runs():
    makefile = (ROOT / "Makefile").read_text()
    files = re.search(r"CAMPAIGN_FILES := (.*)", makefile)[1].split()
    run = "".join(SOURCES[ROOT / "tests" / f"test_{name}.py"] for name in files)
    for option in set(re.findall(r"`(NPNN_\w+)`", PAGE)):
        assert f'environ.get("{option}"' in run
