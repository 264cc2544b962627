"""What may stand in a `model.pt2` (promise 7: nothing loaded can run code).

`torch.export.load` runs code in five places, read in torch 2.15: it unpickles the sample
inputs, the weights and constants marked `use_pickle`, and custom objects; it loads shared
libraries below `data/aotinductor`; it evaluates the shapes' expressions (`sympy.sympify`) and,
as Python, the guards; and it looks up whatever operator a node names. An archive that Perdure
writes has none of these, so `check` refuses whatever is not plain tensors and plain ATen
operators.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from torch.export.pt2_archive._package import PT2ArchiveReader

from perdure.errors import Corrupt

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")

_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
    rf"|{re.escape(MODEL)}|{re.escape(SAMPLES)}|{'|'.join(map(re.escape, CONFIGS))}"
)
_PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")
_OPERATOR = re.compile(
    r"torch\.ops\.(aten|prims)\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pow|eq|ne|lt|le|gt|ge|getitem|and_|or_)"
    r"|math\.(ceil|floor|trunc)|torch\.sym_(max|min|not|float|int)"
)
_NAME = re.compile(r"[\w.+-]*")
# As sympy prints them: names of these functions, symbols in quotes, numbers, and no dot,
# bracket or underscore with which to reach anything else.
_EXPRESSION = re.compile(
    r"(?:(?:Symbol|Integer|Add|Mul|Pow|Max|Min|FloorDiv|Mod|CeilDiv|IntTrueDiv|Rational|positive"
    r"|nonnegative|integer|True|False)\b|'[a-z]{1,4}\d*'|\b[su]\d+\b|\d+|[-+*/(),= ])*"
)
_SPEC_IN = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": '
    '"builtins.tuple", "context": "null", "children_spec": [{"type": null, "context": null, '
    '"children_spec": []}]}, {"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)
_SPEC_OUT = '[1, {"type": null, "context": null, "children_spec": []}]'


def check(data: bytes) -> None:
    """Refuse an archive in which anything could run code, without loading it.

    Raises:
        Corrupt: Naming what was found.
    """
    try:
        # The reader that loads it later, so that both see the same records.
        with PT2ArchiveReader(io.BytesIO(data)) as reader:
            names = list(reader.get_file_names())
            records = {name: reader.read_bytes(name) for name in names if not _is_tensor(name)}
        finding = next(_findings(names, records), None)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, AssertionError) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise Corrupt(f"model.pt2 is no readable archive: {why}") from error
    if finding is not None:
        raise Corrupt(
            f"model.pt2 is refused, for loading it could run code: {finding}",
            hint="perdure show VERSION says which run wrote it; register the learner again",
        )


def _is_tensor(name: str) -> bool:
    return bool(re.fullmatch(r"data/(weights/weight|constants/tensor)_\d+", name))


def _findings(names: list[str], records: dict[str, bytes]) -> Iterator[str]:
    if len(set(names)) != len(names):
        yield "two records of one name"
    yield from (f"the record {name!r}" for name in names if not _RECORD.fullmatch(name))
    if records[SAMPLES]:
        yield f"pickled sample inputs ({len(records[SAMPLES])} bytes)"
    for config in CONFIGS:
        for name, payload in json.loads(records[config])["config"].items():
            if payload["use_pickle"] is not False or payload["tensor_meta"] is None:
                yield f"pickled tensor {name!r}"
            if not _PAYLOAD.fullmatch(payload["path_name"]):
                yield f"{name!r} read from {payload['path_name']!r}"
    program = json.loads(records[MODEL])
    yield from _in_program(program)


def _in_program(program: dict[str, Any]) -> Iterator[str]:
    if program["guards_code"]:
        yield f"guards in Python: {program['guards_code'][0]!r}"
    graph = program["graph_module"]
    for node in graph["graph"]["nodes"]:
        if not _OPERATOR.fullmatch(node["target"]):
            yield f"the operator {node['target']!r}"
        if node["metadata"]:
            yield f"metadata of the node {node['name']!r}"
    for entry in graph["module_call_graph"]:
        signature = entry.pop("signature")
        if signature is None:
            continue
        specs = (signature.pop("in_spec"), signature.pop("out_spec"))
        if specs != (_SPEC_IN, _SPEC_OUT):
            yield f"inputs and outputs other than one tensor each: {specs}"
        yield from _strings(signature)
    yield from _strings(program)


def _strings(value: Any, key: str = "") -> Iterator[str]:
    """Every text in the program that is not plainly a name, an operator or an expression."""
    if isinstance(value, dict):
        yield from (f"the key {name!r}" for name in value if not _NAME.fullmatch(name))
        for name, item in value.items():
            yield from _strings(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, str) and key != "as_string":
        allowed = {"expr_str": _EXPRESSION, "target": _OPERATOR, "as_operator": _OPERATOR}
        if not allowed.get(key, _NAME).fullmatch(value):
            yield f"{key} = {value[:120]!r}"
