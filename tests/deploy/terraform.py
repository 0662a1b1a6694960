"""Terraform modules with their expressions carried out, as far as the ones in deploy/aws use them.
A reference to a resource becomes a text, `@aws_lb.balancer.arn`, if that resource is there."""

import base64
import os
import pathlib
import re

import hcl2

TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\$]|\\.|\$(?!\{)|\$\{(?:[^{}"]|"[^"]*")*\})*")"""
    r"""|(?P<number>\d+)|(?P<word>[A-Za-z_][\w-]*)|(?P<mark>==|!=|\[\*\]|[][(){},.?:]))"""
)
FUNCTIONS = {
    "join": lambda module, separator, items: separator.join(items),
    "concat": lambda module, *lists: [item for items in lists for item in items],
    "base64encode": lambda module, text: base64.b64encode(text.encode()).decode(),
    "file": lambda module, path: pathlib.Path(path).read_text(encoding="utf-8"),
    "one": lambda module, items: items,
}


class Module:
    """What a folder's main.tf comes to with these variables."""

    def __init__(self, folder, **variables):
        with open(os.path.join(folder, "main.tf"), encoding="utf-8") as file:
            self.parsed = hcl2.load(file)
        self.folder = folder
        declared = named(self.parsed["variable"])
        self.variables = {}
        for name, variable in declared.items():
            if name in variables:
                self.variables[name] = variables.pop(name)
            else:
                assert "default" in variable, f"{name} has to be given"
                self.variables[name] = self.plain(variable["default"])
        assert not variables, f"there are no variables {variables}"
        self.locals = {key: value for part in self.parsed["locals"] for key, value in part.items()}
        self.blocks = {}
        for kind in ("resource", "data"):
            for part in self.parsed.get(kind, []):
                for sort, blocks in part.items():
                    for name, block in blocks.items():
                        place = f"{unquoted(sort)}.{unquoted(name)}"
                        self.blocks[f"data.{place}" if kind == "data" else place] = block

    def resource(self, place, scope=None):
        """The plain values of a resource; `scope` is what `each` stands for."""
        return self.plain(self.blocks[place], scope or {})

    def plain(self, value, scope=None):
        scope = scope or {}
        if isinstance(value, list):
            return [self.plain(item, scope) for item in value]
        if isinstance(value, dict):
            return {
                unquoted(key): self.plain(item, scope)
                for key, item in value.items()
                if key not in ("__is_block__", "dynamic")
            } | self.dynamic(value.get("dynamic", []), scope)
        if not isinstance(value, str):
            return value
        if value.startswith("${") and value.endswith("}"):
            return Expression(self, value[2:-1], scope).whole()
        return Expression(self, value, scope).whole() if value.startswith('"') else value

    def dynamic(self, blocks, scope):
        made = {}
        for block in blocks:
            for name, parts in block.items():
                name = unquoted(name)
                items = self.plain(parts["for_each"], scope)
                pairs = items.items() if isinstance(items, dict) else enumerate(items)
                made[name] = [
                    self.plain(parts["content"][0], scope | {name: {"key": key, "value": item}})
                    for key, item in pairs
                ]
        return made

    def references(self):
        """Every path of every expression, which is to lead somewhere."""
        texts, found = [], set()

        def walk(value):
            if isinstance(value, dict):
                for item in value.values():
                    walk(item)
            elif isinstance(value, list):
                for item in value:
                    walk(item)
            elif isinstance(value, str):
                texts.append(value)

        walk({key: value for key, value in self.parsed.items() if key != "variable"})
        for text in texts:
            inner = re.findall(r"\$\{([^{}]*)\}", text)
            for part in inner + re.findall(r"\$\{((?:[^{}]|\{[^{}]*\})*)\}", text):
                bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"", '""', part)
                found.update(re.findall(r"(?<![\w.])(?:data\.)?[a-z_]\w*\.\w+", bare))
        return found

    def knows(self, path):
        first, second = path.removeprefix("data.").split(".")[:2]
        if first == "var":
            return second in self.variables
        if first == "local":
            return second in self.locals
        place = f"{first}.{second}"
        return (f"data.{place}" if path.startswith("data.") else place) in self.blocks


def named(parts):
    return {unquoted(name): block for part in parts for name, block in part.items()}


def unquoted(text):
    return text.strip('"')


class Expression:
    """One expression. It is read while it is carried out; `skip` reads without carrying out."""

    def __init__(self, module, text, scope):
        self.module, self.scope, self.skip = module, scope, False
        self.tokens, at = [], 0
        text = text.strip()
        while at < len(text):
            match = TOKEN.match(text, at)
            assert match, f"cannot read {text[at:at + 60]!r}"
            self.tokens.append((match.lastgroup, match[match.lastgroup]))
            at = match.end()
        self.at = 0

    def whole(self):
        value = self.choice()
        assert self.at == len(self.tokens), self.tokens[self.at:]
        return value

    def peek(self):
        return self.tokens[self.at][1] if self.at < len(self.tokens) else None

    def take(self, mark=None):
        kind, text = self.tokens[self.at]
        assert mark in (None, text), (mark, text)
        self.at += 1
        return kind, text

    def choice(self):
        condition = self.comparison()
        if self.peek() != "?":
            return condition
        self.take("?")
        values = []
        for mark, wanted in ((":", True), (None, False)):
            before, self.skip = self.skip, self.skip or bool(condition) != wanted
            values.append(self.choice())
            self.skip = before
            if mark:
                self.take(mark)
        return values[0 if condition else 1]

    def comparison(self):
        left = self.operand()
        if self.peek() not in ("==", "!="):
            return left
        _, mark = self.take()
        return (left == self.operand()) == (mark == "==")

    def operand(self):
        kind, text = self.take()
        if kind == "string":
            return self.text(text[1:-1])
        if kind == "number":
            return int(text)
        if text == "[":
            return self.items("]")
        if text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[text]
        if self.peek() == "(":
            self.take("(")
            arguments = self.items(")")
            return None if self.skip else FUNCTIONS[text](self.module, *arguments)
        return self.path(text)

    def items(self, end):
        items = []
        while self.peek() != end:
            items.append(self.choice())
            if self.peek() == ",":
                self.take(",")
        self.take(end)
        return items

    def path(self, first):
        parts = [first]
        while self.peek() in (".", "[", "[*]"):
            _, mark = self.take()
            if mark == ".":
                parts.append(self.take()[1])
            elif mark == "[":
                parts.append(f"[{self.choice()}]")
                self.take("]")
        return None if self.skip else self.follow(parts)

    def follow(self, parts):
        first, second = parts[0], parts[1]
        if first == "var":
            return self.module.variables[second]
        if first == "local":
            return self.module.plain(self.module.locals[second], self.scope)
        if first in self.scope:
            value = self.scope[first]
            for part in parts[1:]:
                value = value[part]
            return value
        if (first, second) == ("path", "module"):
            return self.module.folder
        assert self.module.knows(".".join(parts[:3])), parts
        return "@" + ".".join(parts).replace(".[", "[")

    def text(self, text):
        def known(match):
            return str(Expression(self.module, match[1], self.scope).whole())

        if self.skip:
            return text
        text = text.replace("\\n", "\n").replace('\\"', '"')
        return re.sub(r"\$\{((?:[^{}\"]|\"[^\"]*\")*)\}", known, text)
