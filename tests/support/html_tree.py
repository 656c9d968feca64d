"""A small tree of an HTML page for tests of its content."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Node:
    """An element: its tag, attributes and children (nodes and texts)."""

    def __init__(self, tag: str, attributes: dict[str, str]):
        self.tag, self.attributes = tag, attributes
        self.children: list[Node | str] = []

    @property
    def text(self) -> str:
        """Return all text inside, with single spaces."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())

    def find(self, tag: str, **attributes: str) -> Iterator[Node]:
        """Yield the elements below with this tag, these attributes and the class `class_`."""
        word = attributes.pop("class_", None)
        for node in self.walk():
            classes = node.attributes.get("class", "").split()
            fits = node.tag == tag and attributes.items() <= node.attributes.items()
            if fits and (word is None or word in classes):
                yield node

    def walk(self) -> Iterator[Node]:
        """Yield all elements below."""
        for child in self.children:
            if isinstance(child, Node):
                yield child
                yield from child.walk()


class _Builder(HTMLParser):
    def __init__(self):
        super().__init__()
        self.stack = [Node("document", {})]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.stack[-1].children.append(node)
        if tag not in VOID:
            self.stack.append(node)

    def handle_endtag(self, tag):
        closed = self.stack.pop()
        if closed.tag != tag:
            raise ValueError(f"</{tag}> closes <{closed.tag}>")

    def handle_data(self, data):
        self.stack[-1].children.append(data)


def parse(html: str) -> Node:
    """Parse a page; tags closed in the wrong order are an error."""
    builder = _Builder()
    builder.feed(html)
    builder.close()
    (root,) = builder.stack
    return root
