"""A script, run by `python_docs` in a process of its own: the docstrings of this Python's standard library.

Imports the public modules one after the other and writes one JSON line a docstring. It imports nothing of saelex, so
that Python's isolated mode can run it; whatever an imported module prints is dropped.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import pkgutil
import re
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator
from typing import Any

# Easter eggs that act when imported, applications and test suites, and tools that later versions dropped.
SKIPPED = {"antigravity", "distutils", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo"}
SKIPPED |= {"turtle"}  # reads turtle.cfg from the working directory when imported
SKIPPED_PARTS = {"__main__", "test", "tests", "__phello__"}
# Modules in C behind a public module of another name.
IMPLEMENTATIONS = {"posix": "os", "nt": "os"}

Record = dict[str, str]


def public_modules() -> list[str]:
    """Names of all public modules, packages before their parts: the first module to show a thing names it."""
    stdlib = sysconfig.get_path("stdlib")
    found = [name for name in sys.stdlib_module_names if not name.startswith(("_", "xx")) and name not in SKIPPED]
    for package in list(found):
        paths = [os.path.join(stdlib, package)]  # noqa: PTH118
        found += [part.name for part in pkgutil.walk_packages(paths, f"{package}.", onerror=lambda name: None)]
    kept = [
        name
        for name in found
        if not SKIPPED_PARTS & set(name.split("."))
        and not any(part.startswith("_") for part in name.split("."))
        and not name.startswith("encodings.")  # a hundred code pages that all say the same
    ]
    return sorted(kept, key=lambda name: (name.count("."), name))


def load(name: str) -> types.ModuleType | None:
    """The module, or None for one of another platform or one that was left out of this build."""
    try:
        return importlib.import_module(name)
    except Exception:  # a module that cannot be imported has nothing to document; what it raises is its own affair
        return None


def public_names(module: types.ModuleType) -> list[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return sorted(set(names))


def belongs(thing: Any, module: str) -> bool:
    """Whether the thing is this module's own and not borrowed: same package, or the private module behind it."""
    if module == "builtins":
        return True
    home = getattr(thing, "__module__", None) or module
    top = IMPLEMENTATIONS.get(home, home).split(".")[0]
    return top.lstrip("_") == module.split(".")[0].lstrip("_") or top.startswith("_")


def unwrapped(thing: Any) -> Any:
    return thing.__func__ if isinstance(thing, (staticmethod, classmethod)) else thing


def kind_of(thing: Any, inside_class: bool) -> str | None:
    if inspect.isclass(thing):
        return "class"
    if inspect.isroutine(thing):
        return "method" if inside_class else "function"
    if isinstance(thing, property) or inspect.isgetsetdescriptor(thing) or inspect.ismemberdescriptor(thing):
        return "property"
    return None


def docstring(thing: Any) -> str:
    text = getattr(thing, "__doc__", None)
    text = inspect.cleandoc(text) if isinstance(text, str) else ""
    start = vars(thing).get("__init__") if inspect.isclass(thing) else None
    if inspect.isfunction(start) and start.__doc__:
        # what a constructor's arguments mean is documented there and nowhere else
        text = f"{text}\n\n{inspect.cleandoc(start.__doc__)}".strip()
    return text


class _Environment:
    def __repr__(self) -> str:
        return "os.environ"


def signature(thing: Any, inside_class: bool) -> str:
    """The call as one would write it: no self, annotations or memory addresses; empty where it is not known."""
    try:
        found = inspect.signature(thing)
    except (ValueError, TypeError, NameError):
        return ""
    parameters = list(found.parameters.values())
    if inside_class and parameters and parameters[0].name in ("self", "cls", "type"):
        parameters = parameters[1:]
    parameters = [
        parameter.replace(
            annotation=inspect.Parameter.empty,
            # whose environment it is, and what that holds, is nobody's business
            default=_Environment() if parameter.default is os.environ else parameter.default,
        )
        for parameter in parameters
    ]
    shown = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    return re.sub(r"<class '([\w.]+)'>", r"\1", re.sub(r" at 0x[0-9a-fA-F]+", "", shown))


def describe(name: str, thing: Any, module: str, inside_class: bool, seen: set[int]) -> Iterator[Record]:
    """The thing and, for a class, its public members."""
    thing = unwrapped(thing)
    kind = kind_of(thing, inside_class)
    if kind is None or id(thing) in seen:
        return
    seen.add(id(thing))
    text = docstring(thing)
    if text:
        title = name if kind == "property" else name + signature(thing, inside_class)
        yield {"id": name, "title": title, "text": text, "module": module, "kind": kind}
    if kind == "class":
        for member, value in sorted(vars(thing).items()):
            if not member.startswith("_") and not (inspect.isclass(value) and value.__qualname__.count(".") == 0):
                yield from describe(f"{name}.{member}", value, module, True, seen)


def topics() -> Iterator[Record]:
    """pydoc's topics: the chapters of the language reference that `help()` shows."""
    try:
        from pydoc_data.topics import topics as found
    except ImportError:  # some distributions leave the topics out
        return
    for name, text in sorted(found.items()):
        heading, _, body = text.strip().partition("\n")
        body = body.lstrip("*=-~^\n")
        yield {"id": f"topic:{name}", "title": heading, "text": body or heading, "module": "", "kind": "topic"}


def docstrings() -> Iterator[Record]:
    seen: set[int] = set()
    for name in public_modules():
        module = load(name)
        if module is None:
            continue
        public = "" if name == "builtins" else f"{name}."
        text = docstring(module)
        if text:
            yield {"id": name, "title": name, "text": text, "module": name, "kind": "module"}
        for member in public_names(module):
            with contextlib.suppress(AttributeError):  # a lazy or an optional name in __all__
                thing = getattr(module, member)
                if belongs(thing, name):
                    yield from describe(public + member, thing, name, False, seen)
    yield from topics()


def main() -> None:
    warnings.simplefilter("ignore")
    sys.stdin.close()
    out = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    ids: set[str] = set()
    texts: set[tuple[str, str]] = set()
    for record in docstrings():
        package_text = record["module"].split(".")[0], record["text"]
        if record["id"] not in ids and package_text not in texts:  # once where subclasses repeat what they inherit
            ids.add(record["id"])
            texts.add(package_text)
            out.write(json.dumps(record) + "\n")
    out.flush()
    # some modules register exit handlers (logging, multiprocessing); nothing here needs them
    os._exit(0)


if __name__ == "__main__":
    main()
