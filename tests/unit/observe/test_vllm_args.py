"""Every spelling of an engine's command line reads as the same settings; what is not understood is said."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_rightsizer.domain.engines import EngineSettings, EngineType
from gpu_rightsizer.domain.models import WeightDtype
from gpu_rightsizer.domain.readings import Missing, MissingReason, Signal
from gpu_rightsizer.domain.units import GIB
from gpu_rightsizer.observe.command_line import read_command_line
from gpu_rightsizer.observe.engine_detection import detect_engine, image_version
from gpu_rightsizer.observe.vllm_args import (
    EngineReading,
    read_settings,
    settings_hash,
    whole_number,
    with_device_defaults,
)

VLLM = "vllm/vllm-openai:v0.11.0"
H100 = "NVIDIA-H100-80GB-HBM3"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"
INSTALLING = f"pip install x && cd /tmp; HF_HOME=/x python3 -m vllm.entrypoints.openai.api_server \\\n  --model {MODEL}"


def read(*args: str, image: str = VLLM, **container: Any) -> EngineReading:
    command = read_command_line({"image": image, "args": list(args), **container})
    return read_settings(detect_engine(image, command), command, image_version(image))


def settings(*args: str, **container: Any) -> EngineSettings:
    return read(*args, **container).settings


@pytest.mark.parametrize(
    "args",
    [
        ("--tensor-parallel-size", "4"),
        ("--tensor-parallel-size=4",),
        ("--tensor_parallel_size", "4"),
        ("--tensor_parallel_size=4",),
        ("-tp", "4"),
        ("-tp=4",),
        ("--port", "8000", "-tp", "4", "--disable-log-requests"),
        ("-tp", "2", "-tp", "4"),
    ],
)
def test_spellings_of_one_flag(args: tuple[str, ...]) -> None:
    told = settings("--model", MODEL, *args)
    assert told.tensor_parallel == 4
    assert told.explicit == {"tensor_parallel"}
    assert told.unread == ()


def manifest(command: list[str], args: list[str], env: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"command": command, "args": args, "env": env or []}


@pytest.mark.parametrize(
    "container",
    [
        manifest([], ["--model", MODEL]),
        manifest([], [f"--model={MODEL}"]),
        manifest([], [MODEL, "--port", "8000"]),
        manifest(["vllm", "serve"], [MODEL, "--port", "8000"]),
        manifest(["vllm", "serve", MODEL], ["--port", "8000"]),
        manifest(["/usr/local/bin/vllm"], ["serve", MODEL]),
        manifest(["vllm", "serve"], ["--model", MODEL]),
        manifest(["vllm", "serve"], ["--port", "8000", MODEL]),
        manifest(["vllm", "serve"], ["--port=8000", "--trust-remote-code", "--enforce-eager", "-tp", "2", MODEL]),
        manifest(["vllm", "serve"], ["--served-model-name", "a", "b", "--model", MODEL]),
        manifest([], ["serve", MODEL]),
        manifest(["python3", "-m", "vllm.entrypoints.openai.api_server"], ["--model", MODEL]),
        manifest(["python", "-u", "-m", "vllm.entrypoints.openai.api_server", "--model", MODEL], []),
        manifest(["vllm", "serve", "$(MODEL)"], [], [{"name": "MODEL", "value": MODEL}]),
        manifest(["vllm", "serve"], ["$(ORG)/$(NAME)"], [{"name": "ORG", "value": "meta-llama"},
                 {"name": "BASE", "value": "Llama-3.1-8B"}, {"name": "NAME", "value": "$(BASE)-Instruct"}]),
        manifest(["/bin/sh", "-c", f"vllm serve {MODEL} --port 8000"], []),
        manifest(["bash", "-lc"], [f"exec vllm serve '{MODEL}'"]),
        manifest(["sh", "-ec", INSTALLING], []),
        manifest(["/bin/sh", "-c", 'vllm serve "$MODEL"'], [], [{"name": "MODEL", "value": MODEL}]),
        manifest(["/bin/sh", "-c", f"vllm serve ${{MODEL:-{MODEL}}}"], []),
        manifest([], [], [{"name": "MODEL_NAME", "value": MODEL}]),
    ],
)  # fmt: skip
def test_the_model_wherever_it_stands(container: dict[str, Any]) -> None:
    command = read_command_line({"image": VLLM, **container})
    engine = detect_engine(VLLM, command)
    reading = read_settings(engine, command, "")
    assert engine is EngineType.VLLM
    assert reading.names[:1] == (MODEL,), reading.names
    assert reading.settings.model_name == MODEL
    assert reading.settings.unread == ()


def test_arguments_in_a_shell_are_read_and_marked() -> None:
    script = f"set -e\nvllm serve {MODEL} --tensor-parallel-size $TP --max-num-seqs 64 2>&1 | tee /log"
    told = settings(command=["/bin/bash", "-c", script], env=[{"name": "TP", "value": "2"}])
    assert (told.tensor_parallel, told.max_num_seqs) == (2, 64)
    assert told.in_shell
    assert not settings("--model", MODEL).in_shell


@pytest.mark.parametrize(
    "script", ["vllm serve 'unclosed", f"vllm serve {MODEL} $EXTRA_ARGS", f'vllm serve {MODEL} "$@"']
)
def test_a_shell_that_hides_arguments_is_said(script: str) -> None:
    assert settings(command=["/bin/sh", "-c", script]).unread


def test_secrets_that_do_not_matter_are_not_missed() -> None:
    told = settings("--model", MODEL, "--api-key", "$(KEY)", "--ssl-keyfile=$(FILE)")
    assert told.unread == ()


def test_a_value_from_a_config_map_that_matters_is_missed() -> None:
    told = settings("--model", MODEL, "--max-model-len=$(LEN)")
    assert told.max_model_len is None
    assert told.unread == ("--max-model-len=$(LEN)",)


def test_an_escaped_variable_stays() -> None:
    assert read_command_line({"args": ["$$(MODEL)"], "env": [{"name": "MODEL", "value": "x"}]}).words == ("$(MODEL)",)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("32768", 32768),
        ("32k", 32_000),
        ("32K", 32_768),
        ("1m", 1_000_000),
        ("1M", 1_048_576),
        ("25.6k", 25_600),
        ("1.5K", None),
        ("auto", None),
        ("-1", None),
        ("", None),
        ("1_000", None),
    ],
)
def test_numbers_for_people(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_everything_that_decides_memory_and_speed() -> None:
    told = settings(
        "--model", MODEL, "-pp", "2", "-dp=2", "--gpu-memory-utilization", "0.85", "--max-model-len", "32K",
        "--max-num-seqs", "64", "--max-num-batched-tokens=4096", "--num-gpu-blocks-override", "1000",
        "--block-size", "32", "--kv-cache-dtype", "fp8_e4m3", "--quantization", "fp8", "--enforce-eager",
        "--enable-chunked-prefill", "--no-enable-prefix-caching", "--cpu-offload-gb", "4",
    )  # fmt: skip
    assert told == EngineSettings(
        pipeline_parallel=2,
        data_parallel=2,
        gpu_memory_utilization=0.85,
        max_model_len=32768,
        max_num_seqs=64,
        max_num_batched_tokens=4096,
        num_gpu_blocks_override=1000,
        block_size=32,
        kv_bytes=1.0,
        weight_dtype=WeightDtype.FP8,
        enforce_eager=True,
        chunked_prefill=True,
        prefix_caching=False,
        cpu_offload_gib=4.0,
        model_name=MODEL,
        version="0.11.0",
        explicit=told.explicit,
    )
    assert len(told.explicit) == 14


@pytest.mark.parametrize(
    ("args", "chunked"),
    [
        (("--enable-chunked-prefill",), True),
        (("--enable-chunked-prefill=False",), False),
        (("--enable-chunked-prefill", "False"), False),
        (("--no-enable-chunked-prefill",), False),
        ((), None),
    ],
)
def test_switches(args: tuple[str, ...], chunked: bool | None) -> None:
    assert settings("--model", MODEL, *args).chunked_prefill is chunked


@pytest.mark.parametrize(
    ("args", "unread"),
    [
        (("--speculative-config", '{"method": "ngram"}'), '--speculative-config={"method": "ngram"}'),
        (("--enable-lora", "--port", "8000"), "--enable-lora"),
        (("--config", "/etc/vllm.yaml"), "--config=/etc/vllm.yaml"),
        (("--hf_overrides.rope_scaling=x",), "--hf-overrides.rope-scaling=x"),
        (("--kv-cache-dtype", "fp3"), "--kv-cache-dtype=fp3"),
        (("--gpu-memory-utilization", "90"), "--gpu-memory-utilization=90"),
        (("--max-model-len", "auto"), "--max-model-len=auto"),
        (("--tensor-parallel-size", "0"), "--tensor-parallel-size=0"),
        (("--max-num-seqs",), "--max-num-seqs"),
        (("--dtype", "float32"), "--dtype=float32"),
        (("--task", "embed"), "--task=embed"),
    ],
)
def test_what_changes_memory_and_is_not_understood(args: tuple[str, ...], unread: str) -> None:
    assert settings("--model", MODEL, *args).unread == (unread,)


@pytest.mark.parametrize(
    "args", [("--task", "generate"), ("--swap-space", "16"), ("-O3",), ("--served-model-name", "llama"), ("--seed=1",)]
)
def test_what_changes_nothing_is_not_unread(args: tuple[str, ...]) -> None:
    assert settings("--model", MODEL, *args).unread == ()


@pytest.mark.parametrize(
    ("quantization", "dtype", "open_format"),
    [
        ("awq_marlin", WeightDtype.INT4, ""),
        ("bitsandbytes", WeightDtype.INT4, ""),
        ("modelopt_fp4", WeightDtype.NVFP4, ""),
        ("fbgemm_fp8", WeightDtype.FP8, ""),
        ("gptq_marlin", None, "gptq-marlin"),
        ("compressed-tensors", None, "compressed-tensors"),
        ("None", None, ""),
    ],
)
def test_quantisation(quantization: str, dtype: WeightDtype | None, open_format: str) -> None:
    reading = read("--model", MODEL, "-q", quantization)
    assert (reading.settings.weight_dtype, reading.quantisation) == (dtype, open_format)


def test_a_load_format_can_quantise() -> None:
    assert settings("--model", MODEL, "--load-format", "bitsandbytes").weight_dtype is WeightDtype.INT4


@pytest.mark.parametrize(
    ("image", "version", "utilisation"),
    [
        ("vllm/vllm-openai:v0.9.2", "0.9.2", 0.9),
        ("vllm/vllm-openai:v0.10.1.1", "0.10.1.1", 0.9),
        ("registry:5000/vllm/vllm-openai:v0.6.4.post1", "0.6.4", 0.9),
        ("vllm/vllm-openai:v0.25.0", "0.25.0", 0.92),
        ("vllm/vllm-openai:v0.30.0-cu129@sha256:abc", "0.30.0", 0.92),
        ("vllm/vllm-openai:latest", "", 0.92),
        ("vllm/vllm-openai@sha256:abc", "", 0.92),
        ("registry:5000/vllm/vllm-openai", "", 0.92),
    ],
)
def test_defaults_by_version(image: str, version: str, utilisation: float) -> None:
    told = settings("--model", MODEL, image=image)
    assert (told.version, told.gpu_memory_utilization) == (version, utilisation)
    assert told.explicit == frozenset()


@pytest.mark.parametrize(
    ("memory", "product", "limits"),
    [
        (45 * GIB, "NVIDIA-L40S", (256, 2048)),
        (79 * GIB, "NVIDIA-H100-80GB-HBM3", (1024, 8192)),
        (80 * GIB, "NVIDIA-A100-SXM4-80GB", (256, 2048)),
        (10 * GIB, "NVIDIA-H100-80GB-HBM3", (256, 2048)),  # a MIG slice
    ],
)
def test_limits_depend_on_the_device(memory: int, product: str, limits: tuple[int, int]) -> None:
    told = settings("--model", MODEL)
    assert (told.max_num_seqs, told.max_num_batched_tokens) == (None, None)
    placed = with_device_defaults(told, EngineType.VLLM, memory, product)
    assert (placed.max_num_seqs, placed.max_num_batched_tokens) == limits
    assert placed.explicit == frozenset()
    assert placed.by_device == {"max_num_seqs", "max_num_batched_tokens"}
    assert with_device_defaults(told, EngineType.SGLANG, memory, product) == told


def test_vllm_before_its_rewrite() -> None:
    placed = with_device_defaults(settings(image="vllm/vllm-openai:v0.6.3"), EngineType.VLLM, 79 * GIB, H100)
    assert (placed.max_num_seqs, placed.max_num_batched_tokens) == (256, None)


def test_what_the_user_set_is_not_a_default() -> None:
    told = settings("--model", MODEL, "--max-num-seqs", "8")
    known = with_device_defaults(told, EngineType.VLLM, 79 * GIB, H100)
    assert (known.max_num_seqs, known.max_num_batched_tokens) == (8, 8192)
    assert known.explicit == {"max_num_seqs"}
    assert known.by_device == {"max_num_batched_tokens"}


@pytest.mark.parametrize(
    ("image", "command", "engine"),
    [
        ("vllm/vllm-openai:v0.9.2", [], EngineType.VLLM),
        ("acme/llm:1", ["vllm", "serve", "m"], EngineType.VLLM),
        ("acme/llm:1", ["python3", "-m", "sglang.launch_server"], EngineType.SGLANG),
        ("lmsysorg/sglang:v0.4.6", [], EngineType.SGLANG),
        ("ghcr.io/huggingface/text-generation-inference:2.4", [], EngineType.TGI),
        ("acme/llm:1", ["text-generation-launcher"], EngineType.TGI),
        ("nvcr.io/nvidia/tritonserver:24.08-py3", ["tritonserver"], EngineType.TRITON),
        ("nvcr.io/nvidia/tritonserver:24.08-trtllm-python-py3", ["tritonserver"], EngineType.TENSORRT_LLM),
        ("nvcr.io/nvidia/tritonserver:24.08-vllm-python-py3", ["tritonserver"], EngineType.VLLM),
        ("nvcr.io/nvidia/tensorrt-llm/release:1.0", ["trtllm-serve", "m"], EngineType.TENSORRT_LLM),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", [], EngineType.LLAMA_CPP),
        ("rayproject/ray-llm:2.46", ["serve", "run", "app:app"], EngineType.RAY_SERVE),
        ("acme/llm:1", ["/bin/sh", "-c", "ray start --head && sleep inf"], EngineType.RAY_SERVE),
    ],
)
def test_which_engine(image: str, command: list[str], engine: EngineType) -> None:
    assert detect_engine(image, read_command_line({"command": command})) is engine


@pytest.mark.parametrize("image", ["acme/llm:1", "ollama/ollama:0.5", "nvcr.io/nim/meta/llama3-8b:1.0", ""])
def test_an_engine_nobody_knows(image: str) -> None:
    found = detect_engine(image, read_command_line({"command": ["python", "server.py"]}))
    assert found == Missing(Signal.ENGINE, MissingReason.UNRECOGNISED, image)


def test_sglang() -> None:
    told = settings(
        "--model-path", MODEL, "--tp", "2", "--mem-fraction-static=0.8", "--context-length", "8192",
        "--max-running-requests", "32", "--chunked-prefill-size", "4096", "--disable-cuda-graph",
        image="lmsysorg/sglang:v0.4.6", command=["python3", "-m", "sglang.launch_server"],
    )  # fmt: skip
    assert (told.tensor_parallel, told.gpu_memory_utilization, told.max_model_len) == (2, 0.8, 8192)
    assert (told.max_num_seqs, told.max_num_batched_tokens, told.enforce_eager) == (32, 4096, True)
    assert told.model_name == MODEL


def test_tgi_reads_its_environment_and_arguments_win() -> None:
    env = [
        {"name": "MODEL_ID", "value": MODEL},
        {"name": "NUM_SHARD", "value": "2"},
        {"name": "QUANTIZE", "value": "awq"},
    ]
    told = settings("--num-shard", "4", image="ghcr.io/huggingface/text-generation-inference:2.4", env=env)
    assert (told.model_name, told.tensor_parallel, told.weight_dtype) == (MODEL, 4, WeightDtype.INT4)


def test_trt_llm_and_llama_cpp() -> None:
    trt = settings(
        image="a/tensorrt-llm:1", command=["trtllm-serve", MODEL, "--tp_size", "2", "--max_batch_size", "64"]
    )
    assert (trt.model_name, trt.tensor_parallel, trt.max_num_seqs) == (MODEL, 2, 64)
    cpp = settings("-m", "/models/x.gguf", "-c", "8192", "-np", "4", image="ghcr.io/ggml-org/llama.cpp:server-cuda")
    assert (cpp.model_name, cpp.max_model_len, cpp.max_num_seqs) == ("/models/x.gguf", 8192, 4)


def test_the_served_name_is_the_second_name() -> None:
    assert read("--model", "/mnt/models", "--served-model-name", MODEL).names == ("/mnt/models", MODEL)


def fingerprint(*args: str) -> str:
    return settings_hash(EngineType.VLLM, settings(*args))


def test_the_hash_ignores_order_spelling_and_what_does_not_matter() -> None:
    one = fingerprint("--model", MODEL, "--max-num-seqs", "64", "-tp", "2")
    other = fingerprint(
        "--tensor_parallel_size=2", "--model", MODEL, "--port", "80", "--max-num-seqs=64", "--api-key=s"
    )
    assert one == other
    assert len(one) == 16


@pytest.mark.parametrize("more", [("--max-num-seqs", "65"), ("--enforce-eager",), ("--enable-lora",), ("-q", "fp8")])
def test_the_hash_changes_with_what_matters(more: tuple[str, ...]) -> None:
    assert fingerprint("--model", MODEL, "--max-num-seqs", "64") != fingerprint(
        "--model", MODEL, "--max-num-seqs", "64", *more
    )


def test_the_hash_does_not_depend_on_the_device() -> None:
    told = settings("--model", MODEL)
    placed = with_device_defaults(told, EngineType.VLLM, 79 * GIB, H100)
    assert settings_hash(EngineType.VLLM, told) == settings_hash(EngineType.VLLM, placed)
