"""CloudFormation templates with their intrinsic functions carried out, as AWS would for some
parameters. What refers to a resource becomes a text: `@Group` for `!Ref Group`, `@Group.Arn` for
`!GetAtt Group.Arn`."""

import base64
import re

import yaml


class Loader(yaml.SafeLoader):
    """YAML in which `!Sub x` is `{"Fn::Sub": "x"}`."""


def tagged(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", tagged)

ABSENT = object()


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader)


class Stack:
    """What a template comes to with these parameters."""

    def __init__(self, template, **parameters):
        self.template = template
        self.parameters = {
            name: parameters.get(name, parameter.get("Default", ABSENT))
            for name, parameter in template["Parameters"].items()
        }
        unknown = parameters.keys() - self.parameters.keys()
        missing = [name for name, value in self.parameters.items() if value is ABSENT]
        assert not unknown and not missing, (unknown, missing)
        self.resources = {
            name: self.value(resource.get("Properties", {}))
            for name, resource in template["Resources"].items()
            if "Condition" not in resource or self.holds(resource["Condition"])
        }

    def holds(self, condition):
        return self.value(self.template["Conditions"][condition])

    def value(self, value):
        if isinstance(value, list):
            items = [self.value(item) for item in value]
            return [item for item in items if item is not ABSENT]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return getattr(self, name.removeprefix("Fn::").lower())(argument)
        values = {key: self.value(item) for key, item in value.items()}
        return {key: item for key, item in values.items() if item is not ABSENT}

    def ref(self, name):
        if name == "AWS::NoValue":
            return ABSENT
        if name.startswith("AWS::"):
            return f"@{name}"
        if name in self.parameters:
            return self.parameters[name]
        assert name in self.template["Resources"], name
        return f"@{name}"

    def getatt(self, path):
        resource, attribute = path
        assert resource in self.template["Resources"], resource
        return f"@{resource}.{attribute}"

    def sub(self, text):
        def known(match):
            name = match[1]
            whole = self.getatt(name.split(".", 1)) if "." in name else self.ref(name)
            return str(whole)

        return re.sub(r"\$\{([^!}][^}]*)\}", known, text)

    def join(self, argument):
        separator, items = argument
        return separator.join(map(str, self.value(items)))

    def split(self, argument):
        separator, text = argument
        return self.value(text).split(separator)

    def equals(self, argument):
        left, right = self.value(argument)
        return str(left) == str(right)

    def findinmap(self, argument):
        first, second, third = argument
        return self.template["Mappings"][first][second][third]

    def base64(self, argument):
        return base64.b64encode(self.value(argument).encode()).decode()

    # The names of these functions are words of Python.
    def __getattr__(self, name):
        functions = {
            "not": lambda argument: not self.value(argument)[0],
            "if": lambda argument: self.value(argument[1 if self.holds(argument[0]) else 2]),
        }
        if name not in functions:
            raise AttributeError(f"this reader does not know the function {name}")
        return functions[name]
