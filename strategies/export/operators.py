"""The operators that a graph may call: those that exports of our bodies have, and a few families.

A list of what is let through, and not of what is refused: ATen has 3,765 in torch 2.15, and each
release of torch has new ones. None in it opens or maps a file, resizes a tensor, views memory by
strides of its own, or runs another graph or a kernel that is loaded from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

EXPORTED: Mapping[str, str] = {
    "table": """
        __or__.Tensor _assert_tensor_metadata.default asinh.default cat.default clamp.default
        cos.default div.Tensor embedding.default flatten.using_ints index.Tensor isinf.default
        isnan.default lift_fresh_copy.default linear.default mul.Tensor relu.default select.int
        sin.default slice.Tensor softmax.int sub.Tensor to.dtype unsqueeze.default where.self
        zeros_like.default""",
    "table, heads": """
        expand.default gather.default reshape.default squeeze.dim sym_size.int view.default""",
    "text": "ne.Scalar",
    "sequence": "bitwise_not.default stack.default",
    "regression": "add.Tensor dropout.default",
    "cnn": "avg_pool2d.default conv2d.default group_norm.default max_pool2d.default",
    "lstm": """
        __and__.Tensor any.dim arange.default gt.Scalar lstm.input lt.Tensor masked_fill.Scalar
        matmul.default sum.dim_IntList tanh.default zeros.default""",
    "transformer": """
        gelu.default layer_norm.default scaled_dot_product_attention.default transpose.int
        unflatten.int""",
    "transformer, class": "pad.default",
    "alexnet": "adaptive_avg_pool2d.default relu_.default",
    "convnext_tiny": "add_.Tensor permute.default",
    "densenet121": "batch_norm.default",
    "efficientnet_b0": "dropout_.default sigmoid.default silu_.default",
    "maxvit_t": """
        chunk.default contiguous.default einsum.default silu.default swapaxes.default""",
    "mnasnet0_5": "mean.dim",
    "mobilenet_v2": "hardtanh_.default",
    "mobilenet_v3_small": "hardsigmoid.default hardswish_.default",
    "swin_t": "eq.Scalar fill_.Scalar new_zeros.default roll.default",
    "swin_v2_t": """
        clamp_min.default clone.default exp.default expand_as.default linalg_vector_norm.default
        zero_.default""",
    "scaled, grey, group": "_upsample_bilinear2d_aa.vec",
    "predicts by icarl": "full_like.default neg.default square.default t.default",
}
"""What each export has that none above it has; a test exports them all and compares."""

OWN = """
    abs.default acos.default acosh.default asin.default atan.default atan2.default atanh.default
    ceil.default cosh.default erf.default expm1.default floor.default log.default log10.default
    log1p.default log2.default reciprocal.default round.default rsqrt.default sign.default
    sinh.default sqrt.default tan.default trunc.default

    add.Scalar addmm.default baddbmm.default bmm.default div.Scalar div.Tensor_mode
    floor_divide.default fmod.Scalar fmod.Tensor lerp.Scalar lerp.Tensor logaddexp.default
    maximum.default minimum.default mm.default mul.Scalar mv.default outer.default
    pow.Scalar pow.Tensor_Scalar pow.Tensor_Tensor remainder.Scalar remainder.Tensor rsub.Scalar
    sub.Scalar

    bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor eq.Tensor ge.Scalar ge.Tensor gt.Tensor
    isfinite.default le.Scalar le.Tensor logical_and.default logical_not.default logical_or.default
    logical_xor.default lt.Scalar ne.Tensor

    all.default all.dim amax.default amin.default any.default argmax.default argmin.default
    cumprod.default cumsum.default logsumexp.default max.default max.dim mean.default min.default
    min.dim prod.default prod.dim_int std.correction std.dim sum.default topk.default var.correction
    var.dim

    celu.default clamp.Tensor clamp_max.default elu.default elu_.default glu.default
    hardshrink.default hardswish.default hardtanh.default leaky_relu.default leaky_relu_.default
    log_sigmoid.default log_softmax.int mish.default prelu.default relu6.default selu.default
    softplus.default softshrink.default threshold.default

    adaptive_avg_pool1d.default adaptive_avg_pool3d.default adaptive_max_pool1d.default
    adaptive_max_pool2d.default avg_pool1d.default avg_pool3d.default conv1d.default conv3d.default
    conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input feature_dropout.default
    gru.input instance_norm.default max_pool1d.default max_pool3d.default pixel_shuffle.default
    rms_norm.default rnn_relu.input rnn_tanh.input upsample_bilinear2d.vec upsample_nearest2d.vec

    div_.Tensor masked_fill_.Scalar mul_.Tensor sub_.Tensor

    broadcast_to.default constant_pad_nd.default diagonal.default flip.default
    full.default index_select.default movedim.int narrow.default ones.default ones_like.default
    repeat.default scalar_tensor.default scatter.src scatter.value scatter_add.default
    select_scatter.default slice_scatter.default sort.default split.Tensor split_with_sizes.default
    squeeze.default squeeze.dims tile.default tril.default triu.default type_as.default unbind.int
    view_as.default where.Scalar where.ScalarOther where.ScalarSelf
"""
"""What models of users' own are made of: functions of numbers, as the above are. No text and no
random numbers among their arguments, and nothing is changed but the first of an in-place one."""

SIZES = (
    "_operator.add", "_operator.sub", "_operator.mul", "_operator.floordiv", "_operator.mod",
    "_operator.neg", "_operator.eq", "_operator.ne", "_operator.lt", "_operator.le",
    "_operator.gt", "_operator.ge", "_operator.getitem", "torch.sym_max", "torch.sym_min",
    "torch.sym_not",
)  # fmt: skip
"""What computes sizes from the number of rows."""

_EQUATION = re.compile(
    r"[A-Za-z]( ?[A-Za-z])*(, ?[A-Za-z]( ?[A-Za-z])*)* ?-> ?([A-Za-z]( ?[A-Za-z])*)?"
)
TEXTS: Mapping[str, Mapping[str, re.Pattern[str]]] = {
    "torch.ops.aten.einsum.default": {"equation": _EQUATION},
    "torch.ops.aten.pad.default": {"mode": re.compile("constant|reflect|replicate|circular")},
    "torch.ops.aten.gelu.default": {"approximate": re.compile("none|tanh")},
    "torch.ops.aten.div.Tensor_mode": {"rounding_mode": re.compile("floor|trunc")},
}
"""The few texts that arguments may have, by operator and argument."""

ARGUMENTS = frozenset(
    f"as_{kind}" for kind in (
        "none", "tensor", "tensors", "optional_tensor", "optional_tensors", "int", "ints", "float",
        "floats", "bool", "bools", "sym_int", "sym_ints", "sym_bool", "sym_float", "sym_floats",
        "scalar_type", "memory_format", "layout",
    )
)  # fmt: skip
"""Kinds of arguments, as `model.json` has them: no graph, operator or object, and no text."""


ALLOWED = frozenset(
    [*(f"torch.ops.aten.{name}" for name in " ".join([*EXPORTED.values(), OWN]).split()), *SIZES]
)
"""All that a graph may call, as `model.json` names it."""
