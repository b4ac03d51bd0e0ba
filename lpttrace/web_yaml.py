# SPDX-License-Identifier: GPL-2.0-only
"""A YAML file whose every value knows where it stands. The only importer of yaml."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Optional

from lpttrace.errors import UsageError

if TYPE_CHECKING:
    import yaml

__all__ = ["Entry", "read_yaml"]

_TRUTH = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}


@dataclass(frozen=True)
class Entry:
    """A value: key is the way to it from the top of the file."""

    file: str
    key: str
    line: int
    node: Optional[yaml.Node]

    def error(self, why: str) -> UsageError:
        """To be raised: what is wrong with this value."""
        return UsageError(f"{self.file}:{self.line}: {self.key or 'the file'}: {why}")

    def table(self, known: Optional[Iterable[str]] = None) -> dict[str, Entry]:
        """The values in it by key, of which only those that are known may be there."""
        if self._is_null():
            return {}
        if self.node is None or not self._is("mapping"):
            raise self.error("not a table of keys and values")
        found: dict[str, Entry] = {}
        for key_node, value in self.node.value:
            name = self._at(self.key, key_node)._scalar("a key")
            inner = self._at(f"{self.key}.{name}".lstrip("."), value, key_node)
            if known is not None and name not in known:
                raise inner.error(f"no such key; there are {', '.join(known)}")
            if name in found:
                raise inner.error(f"there twice; the first is in line {found[name].line}")
            found[name] = inner
        return found

    def items(self) -> list[Entry]:
        """The values of a list."""
        if self._is_null():
            return []
        if self.node is None or not self._is("sequence"):
            raise self.error("not a list; begin every value with a line of its own and '- '")
        return [self._at(f"{self.key}[{n}]", value) for n, value in enumerate(self.node.value)]

    def text(self) -> str:
        """A string, as it is written; empty if there is nothing."""
        return "" if self._is_null() else self._scalar("a string")

    def truth(self) -> bool:
        """true or false."""
        value = self._scalar("true or false").lower()
        if value not in _TRUTH:
            raise self.error(f"{value!r} is not true or false")
        return _TRUTH[value]

    def _is_null(self) -> bool:
        return self.node is None or self.node.tag == "tag:yaml.org,2002:null"

    def _is(self, kind: str) -> bool:
        return getattr(self.node, "id", "") == kind

    def _scalar(self, what: str) -> str:
        if self.node is None or not self._is("scalar"):
            raise self.error(f"not {what}")
        return str(self.node.value)

    def _at(self, key: str, node: yaml.Node, begin: Optional[yaml.Node] = None) -> Entry:
        return Entry(self.file, key, (begin or node).start_mark.line + 1, node)


def read_yaml(file: str, content: bytes) -> Entry:
    """The whole of a file; yaml must be there."""
    import yaml

    try:
        text = content.decode()
        return Entry(file, "", 1, yaml.compose(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{file}:{line}: not UTF-8: {error.reason}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise UsageError(f"{file}:{line}: not YAML: {error.reason}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(filter(None, (error.context, error.problem)))
        raise UsageError(f"{file}:{mark.line + 1 if mark else 1}: not YAML: {why}") from error
    except RecursionError as error:
        raise UsageError(f"{file}:1: not a web configuration: too deep") from error
