"""All cases: small inputs that once went wrong, the commands, and what must come."""

from __future__ import annotations

from collections.abc import Iterator

from tests.cases.frame import Case, Judge, Outcome, both, computes, cosine, either, exits, strictly

NUMBERS, REFUSALS, CRASHES, MESSAGES = "wrong numbers", "wrong refusals", "crashes", "messages"


def cases() -> list[Case]:
    """The whole table."""
    return [*_half(), *_numbers(), *_calibration(), *_engines(), *_converted(), *_crashes(), *_messages()]


def _half() -> Iterator[Case]:
    """Every network lowered to FP16 without and with calibration, then computed by onnx's reference evaluator."""
    for files, name, data, calibration in (
        ("hfmask", "hfmask", "prefill", "prefill"),
        ("hfmask", "hfmask", "step", "step"),
        ("l2norm", "l2norm", "l2norm", "l2norm"),
        ("rope", "rope", "rope_1k", "rope_1k"),
        ("rope", "rope", "rope_4k", "rope_4k"),
        ("tstep", "tstep", "tstep", "tstep"),
        ("rms_eps", "rms_mul", "rms", "rms"),
        ("rms_eps", "rms_pow", "rms", "rms"),
    ):
        judge = strictly(f"{name}.onnx", "o.onnx", f"{data}.npz")
        lower = f"lower {name}.onnx -o o.onnx --precision fp16"
        label = name if name == data else f"{name} on {data}"
        yield Case(label, NUMBERS, files, [lower], "as FP32 to 0.02, no new NaN", judge)
        calibrated = [f"calibrate {name}.onnx --data {calibration}.npz -o c", f"{lower} --cache c"]
        yield Case(f"{label}, calibrated", NUMBERS, files, calibrated, "as FP32 to 0.02, no new NaN", judge)

    step = "x:2x1x32,mask:2x6,past_k:2x2x5x8,past_v:2x2x5x8"
    for files, name, data, shapes in (
        ("hfmask", "hfmask", "step", step),
        ("l2norm", "l2norm", "l2norm", "x:2x32"),
        ("rms_eps", "rms_mul", "rms", "x:2x64"),
    ):
        line = f"trtexec --onnx={name}.onnx --fp16 --shapes={shapes} --skipInference --saveEngine=e"
        judge = strictly(f"{name}.onnx", "e.onnx", f"{data}.npz")
        yield Case(f"{name}, trtexec --fp16", NUMBERS, files, [line], "as FP32 to 0.02, no new NaN", judge)


def _numbers() -> Iterator[Case]:
    lower = "lower ort_fp16.onnx -o o.onnx --precision fp16"
    yield Case(
        "ort_fp16",
        NUMBERS,
        "ort_fp16",
        [lower, "verify ort_fp16.onnx o.onnx --data ort_fp16.npz --max-rel 0.02"],
        "exit 6, or nothing lost",
        either(exits(0, 6), strictly("ort_fp16.onnx", "o.onnx", "ort_fp16.npz")),
    )
    yield Case(
        "ort_fp16, calibrated",
        NUMBERS,
        "ort_fp16",
        [
            "calibrate ort_fp16.onnx --data ort_fp16.npz -o c",
            f"{lower} --cache c",
            "verify ort_fp16.onnx o.onnx --data ort_fp16.npz --max-rel 0.02",
        ],
        "exit 0, nothing lost",
        both(exits(0), strictly("ort_fp16.onnx", "o.onnx", "ort_fp16.npz")),
    )
    yield Case(
        "concat_share",
        NUMBERS,
        "concat_share",
        [
            "calibrate concat_share.onnx --data concat_share.npz -o c",
            "lower concat_share.onnx -o o.onnx --precision int8 --cache c",
            "verify concat_share.onnx o.onnx --data concat_share.npz",
        ],
        "exit 0, every cosine above 0.99",
        both(exits(0), cosine("concat_share.onnx", "o.onnx", "concat_share.npz", 0.99)),
    )
    yield Case(
        "scatter_nd",
        NUMBERS,
        "scatter_nd",
        ["convert scatter_nd -o o.onnx"],
        "y = [0 3 0 4 0], or exit 3 that names ScatterNd",
        either(computes("o.onnx", "scatter_nd.npz", y=[0, 3, 0, 4, 0]), exits(3, says="ScatterNd")),
    )
    yield Case(
        "int_floordiv",
        NUMBERS,
        "int_floordiv",
        ["convert int_floordiv -o o.onnx"],
        "q = [-3 -2 -1 1], r = [2 1 2 1]",
        computes("o.onnx", "int_floordiv.npz", q=[-3, -2, -1, 1], r=[2, 1, 2, 1]),
    )


def _calibration() -> Iterator[Case]:
    for name in ("logmax", "divnonan"):
        yield Case(
            f"logmel_calib, {name}",
            REFUSALS,
            "logmel_calib",
            [f"calibrate {name}.onnx --data lm.npz -o c"],
            "exit 0: what Max or Where replaces needs no range",
            exits(0),
        )
    yield Case(
        "logmel_calib, verify",
        REFUSALS,
        "logmel_calib",
        ["lower divnonan.onnx -o o.onnx --precision fp16", "verify divnonan.onnx o.onnx --data lm.npz"],
        "exit 0: NaN that FP32 has too is no overflow",
        exits(0),
    )
    for model, data in (("rnn_fixed", "rnn_one"), ("rnn_batch", "rnn_batch"), ("rnn_fixed", "rnn_samples")):
        yield Case(
            f"rnn_state, {model} on {data}",
            REFUSALS,
            "rnn_state",
            [f"calibrate {model}.onnx --data {data}.npz -o c"],
            "exit 0, or a hint that names batch_axis",
            either(exits(0), exits(2, says="batch_axis")),
        )
        yield Case(
            f"rnn_state, infer {model} on {data}",
            REFUSALS,
            "rnn_state",
            [f"infer {model}.onnx --data {data}.npz -o r.npz"],
            "exit 0, or a hint that names batch_axis",
            either(exits(0), exits(2, says="batch-axis")),
        )


_PROFILE = "--minShapes=x:1x1x32,mask:1x1,past_k:1x2x0x8,past_v:1x2x0x8 --optShapes=x:1x1x32,mask:1x6,past_k:1x2x5x8,"
_PROFILE += "past_v:1x2x5x8 --maxShapes=x:1x8x32,mask:1x24,past_k:1x2x16x8,past_v:1x2x16x8"
_SHAPES = "--shapes x=1,1,32x1,1,32x1,8,32 --shapes mask=1,1x1,6x1,24 --shapes past_k=1,2,0,8x1,2,5,8x1,2,16,8 "
_SHAPES += "--shapes past_v=1,2,0,8x1,2,5,8x1,2,16,8"


def _engines() -> Iterator[Case]:
    yield Case(
        "hfmask, empty past, trtexec",
        REFUSALS,
        "hfmask",
        [f"trtexec --onnx=hfmask.onnx {_PROFILE} --skipInference"],
        "built: a minimum of 0 is a dimension",
        exits(0),
    )
    yield Case(
        "hfmask, empty past",
        REFUSALS,
        "hfmask",
        [f"build hfmask.onnx -o e --precision fp32 {_SHAPES}"],
        "built: a minimum of 0 is a dimension",
        exits(0),
    )
    yield Case(
        "shapes_fix_dims",
        REFUSALS,
        "shapes_fix_dims",
        ["trtexec --onnx=shapes_fix_dims.onnx --shapes=x:1x16x32 --skipInference"],
        "built: min = opt = max is a fixed dimension",
        exits(0),
    )
    for rank in ("3d", "4d"):
        commands = [f"build att{rank}.onnx -o e --precision fp32"]
        yield Case(f"attention23, {rank}", REFUSALS, "attention23", commands, "built", exits(0))
    for name in ("mish", "lppool", "gru"):
        commands = [f"build {name}.onnx -o e --precision bf16"]
        yield Case(f"bf16_ops, {name}", REFUSALS, "bf16_ops", commands, "built, the operator in FP32", exits(0))
    for name, line in (
        ("bench", "bench bool_scalar.onnx --duration 50ms"),
        ("trtexec", "trtexec --onnx=bool_scalar.onnx --shapes=x:4x32"),
    ):
        yield Case(f"bool_scalar, {name}", REFUSALS, "bool_scalar", [line], "measured", exits(0))
    convert = "convert scalar -o s.onnx"
    for name, more in (
        ("bench", [convert, "bench s.onnx --batch 1 --duration 50ms"]),
        ("init", ["init scalar -o j.yaml", "run j.yaml"]),
    ):
        yield Case(f"scalar_float_bench, {name}", REFUSALS, "scalar_float_bench", more, "measured", exits(0))


def _converted() -> Iterator[Case]:
    for name, source in (
        ("tflite_int8_sine", "sine_int8.tflite"),
        ("tflite_noname", "noname.tflite"),
        ("tflite_biasdim", "biasdim.tflite"),
        ("savedmodel_field_order", "field_order"),
        ("mixed_float16", "mixed.keras"),
        ("mixed_float16", "half_matmul"),
        ("bicubic", "bicubic_up"),
    ):
        yield Case(f"{name}, {source}", REFUSALS, name, [f"convert {source} -o o.onnx"], "exit 0", exits(0))
    yield Case(
        "tflite_int16io",
        REFUSALS,
        "tflite_int16io",
        ["convert int16io.tflite -o o.onnx"],
        "exit 0, or exit 3 that says int16",
        either(exits(0), exits(3, says="int16", lacks="check the shapes")),
    )
    yield Case(
        "savedmodel_field_order, named",
        REFUSALS,
        "savedmodel_field_order",
        ["convert field_order -o o.onnx --format saved_model", "inspect field_order"],
        "exit 0",
        exits(0),
    )
    commands = ["convert bilinear.keras -o o.onnx --input img:1,32,32,3"]
    yield Case("keras_bilinear_dynamic, shaped", REFUSALS, "keras_bilinear_dynamic", commands, "exit 0", exits(0))
    yield Case(
        "dilated_same_dynamic",
        REFUSALS,
        "dilated_same_dynamic",
        ["convert dilated -o o.onnx"],
        "exit 0: explicit pads",
        exits(0),
    )
    yield Case(
        "bicubic, bicubic_down",
        REFUSALS,
        "bicubic",
        ["convert bicubic_down -o o.onnx"],
        "exit 0, not compared, where ONNX Runtime has no such resizing",
        exits(0),
    )
    yield Case(
        "tf1_while_unchecked",
        REFUSALS,
        "tf1_while_unchecked",
        ["convert while.pb -o o.onnx"],
        "exit 0, compared",
        exits(0, lacks="not compared"),
    )
    commands = ["init tokens.keras -o t.yaml", "run t.yaml"]
    yield Case("keras_init_profile", REFUSALS, "keras_init_profile", commands, "init's job runs as it is", exits(0))


def _crashes() -> Iterator[Case]:
    commands = ["build attqqq.onnx -o e --precision fp32"]
    ends = either(exits(0), exits(4, says="Attention"))
    yield Case("attention23, q = k = v", CRASHES, "attention23", commands, "built, or exit 4 that names it", ends)
    commands = ["convert bilinear.keras -o o.onnx"]
    wanted = exits(3, says="--input", lacks="Traceback")
    yield Case("keras_bilinear_dynamic", CRASHES, "keras_bilinear_dynamic", commands, "exit 3, next: --input", wanted)
    for verb, line in (
        ("infer", "infer linear.onnx --data damaged.npz -o r.npz"),
        ("verify", "verify linear.onnx linear.onnx --data damaged.npz"),
        ("calibrate", "calibrate linear.onnx --data damaged.npz -o c"),
        ("bench", "bench linear.onnx --data damaged.npz --duration 50ms"),
    ):
        judge = exits(2, says="damaged.npz", lacks="Traceback")
        yield Case(f"damaged_npz, {verb}", CRASHES, "damaged_npz", [line], "exit 2: cannot be read", judge)
    for kind in ("input", "dim"):
        model = f"not_utf8_{kind}.onnx"
        for line in (
            f"bench {model} --duration 50ms",
            f"convert {model} -o o.onnx",
            f"build {model} -o e",
            f"lower {model} -o o.onnx --precision fp16",
            f"infer {model} --data not_utf8_node.onnx -o r.npz",
        ):
            judge = exits(3, says="UTF-8", lacks="Traceback")
            verb = line.split()[0]
            yield Case(f"not_utf8_name, {kind}, {verb}", CRASHES, "not_utf8_name", [line], "exit 3: not UTF-8", judge)
    for line in ("lower not_utf8_tensor.onnx -o o.onnx --precision fp16", "inspect not_utf8_input.onnx"):
        judge = either(exits(3, says="UTF-8", lacks="Traceback"), exits(0, lacks="Traceback"))
        name = f"not_utf8_name, {line.split()[0]}, {line.split()[1].split('_')[-1].removesuffix('.onnx')}"
        yield Case(name, CRASHES, "not_utf8_name", [line], "exit 3: not UTF-8", judge)


def _messages() -> Iterator[Case]:
    commands = ["convert custom.keras -o o.onnx"]
    yield Case(
        "custom_layer_message",
        MESSAGES,
        "custom_layer_message",
        commands,
        "exit 3 that names pk>Scale",
        exits(3, says="pk>Scale"),
    )
    yield Case(
        "is_training_hint",
        MESSAGES,
        "is_training_hint",
        ["convert is_training.pb -o o.onnx"],
        "converted, or a hint that says false",
        either(exits(0), exits(3, says="is_training=false", lacks="1.0")),
    )
    for source, shape in (("patches", "--input x:1,8,8,3"), ("stft", "--input x:1,512")):
        yield Case(
            f"patches_fft_dynamic_batch, {source}",
            MESSAGES,
            "patches_fft_dynamic_batch",
            [f"convert {source} -o o.onnx"],
            f"converted, or next: {shape}",
            either(exits(0), exits(3, says=shape)),
        )
    yield Case(
        "ragged_selfhint",
        MESSAGES,
        "ragged_selfhint",
        ["convert ragged -o o.onnx"],
        "exit 0, not compared; or exit 3: ragged",
        either(exits(0, says="not compared"), exits(3, says="ragged", lacks="trtconv convert checks")),
    )
    for name, files, source, least in (
        ("cache_drops_warnings", "cache_drops_warnings", "while.pb", 0),
        ("cache_drops_warnings, ragged", "ragged_selfhint", "ragged", 1),  # of which there is something to warn
    ):
        yield Case(
            name,
            MESSAGES,
            files,
            [f"convert {source} -o a.onnx", f"convert {source} -o b.onnx"],
            "the second time says what the first one warned of",
            _same_warnings(least),
            {"TRTCONV_CACHE": "store"},
        )
    yield Case(
        "matmulnbits",
        MESSAGES,
        "matmulnbits",
        ["convert nbits.onnx -o o.onnx", "build nbits.onnx -o e --precision fp16"],
        "built: both are written with ONNX's operators",
        exits(0),
    )


def _same_warnings(least: int) -> Judge:
    """Both times the same, and so many at least."""

    def judge(outcome: Outcome) -> tuple[bool, str]:
        first, second = ([line for line in text.splitlines() if "warning" in line] for text in outcome.said)
        right = set(outcome.codes) == {0} and first == second and len(first) >= least
        return right, f"warnings: {len(first)}, then {len(second)}"

    return judge
