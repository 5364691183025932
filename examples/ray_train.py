"""Fine-tune one model in the workers of Ray Train, on JAX.

    pip install "ray[train]" pandas
    KERAS_BACKEND=jax python examples/ray_train.py    # two workers of one CPU

Ray's `JaxTrainer` joins its workers on TPUs and GPUs alone. On CPUs each would train a
model of its own without a word; `use_gpu=True` beside `JAX_PLATFORMS=cpu` joins them
there too, and `device_strategy("multihost")` refuses to train where they are not.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def train_one(settings: dict) -> None:
    """What each worker does: the program of `several_processes.py`."""
    import sys

    sys.path.insert(0, settings["examples"])
    import several_processes

    several_processes.main()


def main() -> None:
    """Start two workers, and wait for them."""
    import ray
    from ray.train import ScalingConfig
    from ray.train.v2.jax import JaxTrainer
    from ray.train.v2.jax.config import JaxConfig

    variables = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    variables["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    ray.init(runtime_env={"env_vars": variables}, num_cpus=3)
    trainer = JaxTrainer(
        train_one,
        train_loop_config={"examples": str(ROOT / "examples")},
        jax_config=JaxConfig(use_gpu=True),
        scaling_config=ScalingConfig(num_workers=2),
    )
    trainer.fit()


if __name__ == "__main__":
    main()
