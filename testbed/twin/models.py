"""The twin's own table of models: what has to be stored and read to serve them.

Sources: architecture from Lightning-AI/litgpt @2685705 `config.py` and ai-dynamo/aiconfigurator @095f58a
`model_configs`. The two `eager` models at the end are not language models: they stand for servers that allocate
memory per request (an embedding server, a diffusion server); their figures are illustrative, not measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """Architecture. `parameters` and `active_parameters` are counts; `embedding_parameters` stay 2 bytes wide."""

    name: str
    parameters: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    max_context: int
    active_parameters: float
    embedding_parameters: float
    experts: int = 0
    experts_per_token: int = 0
    eager_bytes_per_token: float = 0.0

    @property
    def is_eager(self) -> bool:
        """Memory is allocated per request, not taken ahead."""
        return self.eager_bytes_per_token > 0


def _dense(name: str, billions: float, shape: tuple[int, ...], tied: bool = False) -> Model:
    layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, context = shape
    embedding = vocab * hidden * (1 if tied else 2)
    parameters = billions * 1e9
    return Model(
        name, parameters, layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, context, parameters, embedding
    )


def _mixture(name: str, billions: tuple[float, float], shape: tuple[int, ...], experts: tuple[int, int]) -> Model:
    layers, hidden, heads, kv_heads, head_dim, intermediate, vocab, context = shape
    return Model(
        name,
        billions[0] * 1e9,
        layers,
        hidden,
        heads,
        kv_heads,
        head_dim,
        intermediate,
        vocab,
        context,
        billions[1] * 1e9,
        vocab * hidden * 2,
        *experts,
    )


def _eager(name: str, billions: float, shape: tuple[int, int, int, int], bytes_per_token: float) -> Model:
    layers, hidden, heads, context = shape
    parameters = billions * 1e9
    return Model(
        name,
        parameters,
        layers,
        hidden,
        heads,
        heads,
        hidden // heads,
        4 * hidden,
        250_002,
        context,
        parameters,
        0.0,
        eager_bytes_per_token=bytes_per_token,
    )


_ROWS = (
    _dense("meta-llama/Llama-3.1-8B-Instruct", 8.03, (32, 4096, 32, 8, 128, 14336, 128256, 131072)),
    _dense("meta-llama/Llama-3.3-70B-Instruct", 70.554, (80, 8192, 64, 8, 128, 28672, 128256, 131072)),
    _dense("Qwen/Qwen2.5-7B-Instruct", 7.615, (28, 3584, 28, 4, 128, 18944, 152064, 32768)),
    _dense("Qwen/Qwen2.5-14B-Instruct", 14.77, (48, 5120, 40, 8, 128, 13824, 152064, 32768)),
    _dense("Qwen/Qwen2.5-32B-Instruct", 32.763, (64, 5120, 40, 8, 128, 27648, 152064, 32768)),
    _dense("Qwen/Qwen3-8B", 8.191, (36, 4096, 32, 8, 128, 12288, 151936, 40960)),
    _dense("Qwen/Qwen3-32B", 32.762, (64, 5120, 64, 8, 128, 25600, 151936, 40960)),
    _dense("mistralai/Mistral-7B-Instruct-v0.3", 7.248, (32, 4096, 32, 8, 128, 14336, 32768, 32768)),
    _dense("mistralai/Mistral-Nemo-Instruct-2407", 12.248, (40, 5120, 32, 8, 128, 14336, 131072, 131072)),
    _mixture(
        "mistralai/Mixtral-8x7B-Instruct-v0.1", (46.703, 12.88), (32, 4096, 32, 8, 128, 14336, 32000, 32768), (8, 2)
    ),
    _mixture(
        "mistralai/Mixtral-8x22B-Instruct-v0.1",
        (140.629, 39.161),
        (56, 6144, 48, 8, 128, 16384, 32768, 65536),
        (8, 2),
    ),
    _eager("BAAI/bge-m3", 0.568, (24, 1024, 16, 8192), 400e3),
    # "tokens" are latent positions (4096 for 1024 x 1024), output tokens are denoising steps
    _eager("stabilityai/stable-diffusion-xl-base-1.0", 3.5, (70, 1280, 20, 8192), 0.9e6),
)

MODELS: dict[str, Model] = {model.name: model for model in _ROWS}
