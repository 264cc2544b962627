"""What may stand in a `model.pt2` (promise 7: nothing loaded can run code).

`torch.export.load` runs code in five places, read in torch 2.15: it unpickles the sample
inputs, the weights and constants marked `use_pickle`, and custom objects; it loads shared
libraries below `data/aotinductor`; it evaluates the shapes' expressions (`sympy.sympify`) and,
as Python, the guards; and it looks up whatever operator a node names. Then the graph itself
may do harm: an operator may open a file (`aten.from_file`), and a tensor may be a view of more than
its own bytes. An archive that Perdure writes has none of these, so `check` refuses whatever is not
plain tensors and the operators that exports have (see `operators`) with numbers as arguments.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch._export.serde.serialize import deserialize_scalar_type
from torch.export.pt2_archive._package import PT2ArchiveReader

from perdure.errors import Corrupt
from perdure.strategies.export import operators

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")

_RECORD = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
    rf"|{re.escape(MODEL)}|{re.escape(SAMPLES)}|{'|'.join(map(re.escape, CONFIGS))}"
)
_PAYLOAD = re.compile(r"weight_\d+|tensor_\d+")
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
_INPUTS = frozenset({"user_input", "parameter", "buffer", "tensor_constant"})
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
            sizes = {n: reader.archive_file.get_record_size(n) for n in names if _is_tensor(n)}
        finding = next(_findings(names, records, sizes), None)
    except (
        RuntimeError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        AssertionError,
    ) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        raise Corrupt(f"model.pt2 is no readable archive: {why}") from error
    if finding is not None:
        raise Corrupt(
            f"model.pt2 is refused, for it could do more than compute: {finding}",
            hint="perdure show VERSION says which run wrote it; register the learner again",
        )


def _is_tensor(name: str) -> bool:
    return bool(re.fullmatch(r"data/(weights/weight|constants/tensor)_\d+", name))


def _findings(names: list[str], records: dict[str, bytes], sizes: dict[str, int]) -> Iterator[str]:
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
            record = f"{config.rpartition('/')[0]}/{payload['path_name']}"
            if not _is_of_its_bytes(payload["tensor_meta"], sizes[record]):
                yield f"{name!r} views more than its own {sizes[record]} bytes"
    program = json.loads(records[MODEL])
    yield from _in_program(program)


def _in_program(program: dict[str, Any]) -> Iterator[str]:
    if program["guards_code"]:
        yield f"guards in Python: {program['guards_code'][0]!r}"
    graph = program["graph_module"]
    for spec in graph["signature"]["input_specs"]:
        yield from (f"an input of the kind {kind!r}" for kind in spec if kind not in _INPUTS)
    for node in graph["graph"]["nodes"]:
        if node["target"] not in operators.ALLOWED:
            yield f"the operator {node['target']!r}"
        yield from _in_arguments(node)
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


def _in_arguments(node: dict[str, Any]) -> Iterator[str]:
    texts = operators.TEXTS.get(node["target"], {})
    for one in node["inputs"]:
        [(kind, value)] = one["arg"].items()
        text = texts.get(one["name"])
        plain = kind in operators.ARGUMENTS or (kind == "as_device" and value["type"] == "cpu")
        if not plain and not (kind == "as_string" and text and text.fullmatch(value)):
            yield f"the argument {one['name']} = {str(value)[:120]!r} of {node['target']!r}"


def _is_of_its_bytes(meta: dict[str, Any], size: int) -> bool:
    """Whether a tensor has no more values than its record holds.

    Its strides may be in any order; torch itself refuses those that reach over the record's end.
    """
    count: int = math.prod(one["as_int"] for one in meta["sizes"])
    kind: torch.dtype = deserialize_scalar_type(meta["dtype"])
    return 0 <= count * kind.itemsize <= size


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
        pattern = _EXPRESSION if key == "expr_str" else _NAME
        if not pattern.fullmatch(value):
            yield f"{key} = {value[:120]!r}"
