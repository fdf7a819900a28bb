"""Importing a module of ours without torch, which takes seconds: to list what it registers needs none of it."""

import importlib
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_HEAVY = ("torch", "torchvision", "scipy", "timm")


class _AnyName(type):
    """Classes that have every name, and stand for it: they can be derived from, called, and named in annotations."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):  # Python asks for those to see what it has before it
            raise AttributeError(name)
        return cls


class _Anything(metaclass=_AnyName):
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, function: Any) -> Any:
        """As a decorator, which does nothing."""
        return function


class _Stub(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(_Anything, name)


class _Finder(MetaPathFinder, Loader):
    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        return (
            ModuleSpec(fullname, self, is_package=True)
            if fullname.partition(".")[0] in _HEAVY
            else None
        )

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Stub(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def load(name: str) -> ModuleType:
    """A module of ours; where torch is not there yet, with stubs in its place, and forgotten again by Python."""
    if "torch" in sys.modules:
        return importlib.import_module(name)
    before, finder = set(sys.modules), _Finder()
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)
        for new in set(sys.modules) - before:
            if new.partition(".")[0] in (*_HEAVY, "ddlabel"):
                del sys.modules[new]
