"""What vLLM's own block manager makes of a model's configuration: the reference for plan/sizing's KV cache arithmetic.

Reads {"model": folder with config.json, "maxModelLen": n, "kvCacheGiB": n, "extra": {EngineArgs by name}} from stdin; the
CPU engine starts in this process with dummy weights, so the configuration must be small: reduce the number of layers and
experts and the vocabulary, keep the attention's shape. Prints one JSON line: tokens and concurrency as the log of the engine
says them, blocks, and each group of layers with its kind, block size and bytes of a page (one block of one layer).
"""

import json
import os
import sys

question = json.load(sys.stdin)
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(question["kvCacheGiB"])

from vllm import LLM  # noqa: E402  (reads the environment when it is imported)


def main():
    options = {"skip_tokenizer_init": True, "enforce_eager": True, "disable_log_stats": True}
    engine = LLM(
        model=question["model"],
        load_format="dummy",
        max_model_len=question["maxModelLen"],
        **{**options, **question.get("extra", {})},
    ).llm_engine
    cache = engine.vllm_config.cache_config
    plan = engine.engine_core.engine_core.scheduler.kv_cache_config
    print(
        json.dumps(
            {
                "tokens": cache.kv_cache_size_tokens,
                "concurrency": cache.kv_cache_max_concurrency,
                "blocks": plan.num_blocks,
                "groups": [
                    {
                        "kind": type(group.kv_cache_spec).__name__,
                        "layers": len(group.layer_names),
                        "blockTokens": group.kv_cache_spec.block_size,
                        "pageBytes": group.kv_cache_spec.page_size_bytes,
                    }
                    for group in plan.kv_cache_groups
                ],
            }
        ),
        flush=True,
    )
    os._exit(0)  # the engine's threads have nothing to finish


if __name__ == "__main__":
    main()
