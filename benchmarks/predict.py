"""The cost of predicting one large image: seconds, and the peak memory of the process.

    python -m benchmarks.predict [SIDE]

A U-Net on a ResNet-18 with random weights, an image of 8,192 × 8,192 pixels in colour (or SIDE × SIDE), the
run's own tiles of 768 pixels, on the CPU, in a process of its own.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 8192


def prepare(folder: Path, side: int) -> None:
    """A run's folder, and an image with spots of many sizes and some noise."""
    import cv2
    import numpy as np
    import torch

    from lab.checkpoint import save
    from lab.config import RunConfig
    from lab.config.validation import validate
    from lab.store import run_folder

    net = {"target": "model.segmenter", "architecture": "Unet", "encoder": "resnet18"}
    values = {"device": "cpu", "task": "lab.tasks.Segmentation", "data": "lab.data.image_folder", "net": net}
    config = validate(RunConfig, values)
    (folder / run_folder.CHECKPOINTS).mkdir(parents=True)
    (folder / run_folder.CONFIG).write_text(config.to_yaml())
    torch.manual_seed(0)
    facts = {"in_channels": 3, "classes": ["background", "cell"], "mean": [0.2] * 3, "std": [0.2] * 3}
    content = {"model": config.create_model().state_dict(), "data": facts}
    save(folder / run_folder.CHECKPOINTS / "best.pt", content)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 24, (side, side, 3), np.uint8)
    for _ in range(side * side // 16384):
        x, y, radius = (int(v) for v in (*rng.integers(0, side, 2), rng.integers(5, 30)))
        cv2.circle(image, (x, y), radius, [int(v) for v in rng.integers(90, 230, 3)], -1)
    assert cv2.imwrite(str(folder / "large.png"), image)


def measure(folder: Path) -> None:
    """Predict it, and print the cost."""
    from lab.predict.segmentation import predict
    from lab.predict.segmentation_run import load_segmenter

    started = time.perf_counter()
    loaded = load_segmenter(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"network loaded after {time.perf_counter() - started:.1f} s; so far at most {before / 1024:,.0f} MB"
    )
    done = predict(loaded, folder / "large.png", folder / "out", min_area=20)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"predicted in {done.seconds:.1f} s, {done.objects:,} objects; at most {most / 1024:,.0f} MB")


def main() -> None:
    """The image is drawn in one process and predicted in another, whose memory is its own."""
    match sys.argv[1:]:
        case ["prepare", folder, side]:
            prepare(Path(folder), int(side))
        case ["measure", folder]:
            measure(Path(folder))
        case sides:
            with tempfile.TemporaryDirectory() as folder:
                for step in (["prepare", folder, *(sides or [str(SIDE)])], ["measure", folder]):
                    subprocess.run([sys.executable, "-m", "benchmarks.predict", *step], check=True)


if __name__ == "__main__":
    main()
