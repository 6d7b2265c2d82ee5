"""``node-selectors``: which nodes have a session with a peer, by the rules of Kubernetes label selectors."""

from __future__ import annotations

import re

from announcer.config.scalars import text
from announcer.config.types import LabelExpression, NodeSelector, Operator
from announcer.config.walk import At, Keys, WrongValue
from announcer.yamltree import Node, YamlText, shown

_SELECTOR = Keys(served=("match-labels", "match-expressions"))
_EXPRESSION = Keys(served=("key", "operator", "values"))

#: Syntax of names and values (https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/).
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def node_selectors(at: At | None) -> tuple[NodeSelector, ...]:
    """The selectors of a peer; items that are wrong are recorded and left out."""
    if at is None:
        return ()
    found = (_selector(item) for item in at.items("selectors"))
    return tuple(selector for selector in found if selector is not None)


def _selector(at: At) -> NodeSelector | None:
    fields = at.fields(_SELECTOR)
    if fields is None:
        return None
    labels: dict[str, str] = {}
    label_map = fields.at("match-labels")
    if label_map is not None:
        for key, value in label_map.entries("labels"):
            name = At(key, value.path, value.problems).read(label_key)
            wanted = value.read(_label_value)
            if name is not None and wanted is not None:
                labels[name] = wanted
    list_at = fields.at("match-expressions")
    items = list_at.items("expressions") if list_at else iter(())
    expressions = tuple(found for found in map(_expression, items) if found is not None)
    return NodeSelector(match_labels=labels, match_expressions=expressions)


def _expression(at: At) -> LabelExpression | None:
    fields = at.fields(_EXPRESSION)
    if fields is None:
        return None
    key = fields.need("key", label_key, "topology.kubernetes.io/zone")
    operator = fields.need("operator", _operator, "In")
    values_at = fields.at("values")
    values = [item.read(_label_value) for item in values_at.items("values")] if values_at else []
    if operator in (Operator.IN, Operator.NOT_IN) and not values:
        at.wrong(f"the operator {operator} needs values", 'add "values: [...]", or use Exists or DoesNotExist')
    if operator in (Operator.EXISTS, Operator.DOES_NOT_EXIST) and values:
        at.wrong(f"the operator {operator} takes no values", 'remove "values", or use In or NotIn')
    if key is None or operator is None:
        return None
    return LabelExpression(key=key, operator=operator, values=tuple(value for value in values if value is not None))


def _operator(node: Node) -> Operator:
    word = text(node)
    try:
        return Operator(word)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not an operator', f"use one of {', '.join(Operator)}") from None


def label_key(node: Node) -> str:
    """The key of a label or of a taint: a name, perhaps behind a prefix."""
    word = text(node)
    prefix, slash, name = word.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))):
        raise WrongValue(f'"{shown(word)}" is not a label key', "a key looks like rack or example.com/rack")
    return word


def _label_value(node: Node) -> str:
    if isinstance(node, YamlText) and not node.plain and not node.text:
        return ""
    word = text(node)
    if not _NAME.fullmatch(word):
        problem = f'"{shown(word)}" is not a label value'
        raise WrongValue(problem, "at most 63 letters, digits, -, _ and ., beginning and ending with a letter or digit")
    return word
