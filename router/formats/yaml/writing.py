"""Plain values as text in YAML, which `router.formats.yaml.file` reads as the same values."""

from __future__ import annotations

import yaml

from router.formats.yaml.document import OLD_BREAKS


class _Dumper(yaml.SafeDumper):
    """Writes what is a line break by YAML 1.1 alone as an escape. PyYAML would break the line at it, which no reader of
    YAML 1.2 undoes.
    """


def yaml_text(value: object, *, is_flow: bool = False, width: int = 80) -> str:
    """`value` as a document of YAML, with the keys of mappings in their order.

    With `is_flow`, lists and mappings are written in brackets. Lines are broken at `width` characters where possible.
    """
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=is_flow, sort_keys=False, allow_unicode=True, width=width
    )
    return text


def _represented(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if OLD_BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represented)
