"""`--export`: a run's network as a file that other programs load, checked on real images."""

import copy
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, assert_never, get_args

import torch
from torch import Tensor, nn

from lab.config import ConfigError
from lab.console import shell_commands
from lab.console.formatting import first_line
from lab.data.normalization import Normalise
from lab.predict.input_files import Layout, find_items
from lab.predict.masks import Source
from lab.predict.segmentation_run import Segmenter
from lab.store import file_io, paths
from lab.store.redact import redact
from lab.tasks.network_outputs import OneTensor
from lab.tasks.tiling import Tiles, infer

Kind = Literal["onnx", "torchscript", "safetensors"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_ENDINGS: dict[Kind, str] = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
TOLERANCE = 1e-4
METADATA = "metadata.json"  # within a TorchScript file
_IMAGES = 4  # that the check looks at
_LARGEST = 512  # pixels of a side, of what it looks at
Network = Callable[..., Tensor]


class ExportError(RuntimeError):
    """The network can't be exported, or the exported file's output differs from the network's."""


@dataclass(frozen=True)
class Exported:
    """The exported file and the result of its check.

    Args:
        difference: the largest between the logits of the file and of the run's network.
        images: the number of real images compared; `checked_on` describes them.
    """

    path: Path
    kind: Kind
    difference: float
    images: int
    checked_on: str
    notes: tuple[str, ...] = ()

    def as_text(self) -> str:
        """Return the text for the console."""
        lines = [f"Warning: {note}" for note in self.notes]
        checked = f"{self.images} image{'' if self.images == 1 else 's'}: {self.checked_on}"
        lines += [
            f"Exported {paths.shown(self.path)}",
            f"Largest difference {self.difference:.1e}, on {checked}",
        ]
        return "\n".join(lines)


def export(
    loaded: Segmenter,
    kind: Kind,
    path: Path | str | None = None,
    *,
    images: Path | str | None = None,
    force: bool = False,
) -> Exported:
    """Write the network with its weights, float32, and the metadata that a program needs to use it.

    Its input is `image`, float32 (N, C, H, W), normalised as in the metadata, of any N and any H and W that
    are multiples of the metadata's `divisor`; then, where the network takes one, `sequence`, int64 (N,), −1
    where it is unknown. Its output is `logits` (N, K, H, W). safetensors holds the weights alone.

    Args:
        path: by default `export/model` in the run's folder, with the ending of the kind.
        images: a folder, image or manifest to check on; by default the run's validation images.
        force: replace a file that is there.

    Raises:
        ValueError: the file is there already, or there is no image to check on.
        ExportError: a package is missing, the network can't be exported, or the file's output differs by more
            than `TOLERANCE` (relative for logits above 1). No file is left behind then.
    """
    path = loaded.folder / "export" / f"model{_ENDINGS[kind]}" if path is None else paths.absolute(path)
    if path.exists() and not force:
        raise ValueError(f"{paths.shown(path)} already exists; choose another file or pass --force")
    # Fail on a missing package before the data is loaded, which may take minutes.
    _require_packages(kind)
    model = copy.deepcopy(loaded.model).cpu().float().to(memory_format=torch.contiguous_format).eval()
    samples, checked_on = _real_images(loaded, images)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: exporters and runtimes recognise the format by it.
    temporary = path.with_name(f".{path.name}.tmp{path.suffix}")
    try:
        notes = _write(kind, model, samples[0], temporary, metadata(loaded), loaded.task.divisor)
        difference = _compare(model, _opened(kind, temporary, loaded), samples, loaded.task.divisor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    file_io.sync_folder(path.parent)
    return Exported(path, kind, difference, len(samples), checked_on, (*loaded.notes, *notes))


def metadata(loaded: Segmenter) -> dict[str, str]:
    """Return the metadata that a program needs to use the network: strings, other values as JSON."""
    normalise = Normalise.from_facts(loaded.facts)
    formula = "none" if normalise is None else "(scaled - mean) / std, per channel"
    if normalise is not None and normalise.mean is None:
        formula += ", both of the image itself; a std below 1e-6 is 1"
    inputs = "image float32 (N, C, H, W)" + ("" if loaded.sequences is None else ", sequence int64 (N,)")
    binary = len(loaded.classes) == 2
    values: dict[str, object] = {
        "inputs": inputs,
        "outputs": "logits float32 (N, K, H, W)",
        "activation": "sigmoid" if binary else "softmax",
        "classes": loaded.classes,
        "background": None if loaded.background is None else loaded.classes[loaded.background],
        "threshold": loaded.threshold if binary else None,
        "channels": loaded.channels,
        "colours": "RGB" if loaded.channels == 3 else "grey",
        "scaling": "8 bits are divided by 255, 16 bits by 65535",
        "normalise": formula,
        "mean": None if normalise is None else normalise.mean,
        "std": None if normalise is None else normalise.std,
        "divisor": loaded.task.divisor,
        "sequences": loaded.sequences,
        "run": loaded.folder.absolute().name,
        "epoch": loaded.epoch,
        "net": redact(loaded.config.as_data())["net"],
    }
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }


def _require_packages(kind: Kind) -> None:
    if kind == "onnx":
        try:
            import onnx  # noqa: F401
            import onnxruntime  # noqa: F401
            import onnxscript  # noqa: F401
        except ImportError as error:
            raise ExportError(
                f"--export onnx needs a package that is not installed, {error.name}: "
                f"{shell_commands.install('onnx', 'onnxscript', 'onnxruntime')}"
            ) from error


def _real_images(loaded: Segmenter, images: Path | str | None) -> tuple[list[list[Tensor]], str]:
    """Return the network's inputs for some real images, each (1, …), on the CPU, and their source.

    Raises:
        ValueError: there are none.
    """
    if images is None:
        try:
            dataset: Any = loaded.create_splits().val
            if dataset is None:
                raise ValueError("the run has no validation set")
            count = min(_IMAGES, len(dataset))
            found = [[part[None] for part in dataset[index][:-1]] for index in range(count)]
        except (ConfigError, ValueError, OSError) as error:
            raise ValueError(
                "the run's validation images, on which an export is checked, can't be read; name others with "
                f"--input. Cause: {error}"
            ) from error
        source = "validation images of the run"
    else:
        normalise, found = Normalise.from_facts(loaded.facts), []
        for item in find_items(images, Layout.of(loaded.config.data.arguments))[:_IMAGES]:
            pixels = Source(item.image, loaded.image_reader())
            image = pixels.tensor(0, pixels.size[0])
            image = image if normalise is None else normalise(image)
            index = (loaded.sequences or {}).get(item.sequence or "", -1)
            found.append([image[None], *([] if loaded.sequences is None else [torch.tensor([index])])])
        source = str(images)
    if not found:
        raise ValueError(f"there is no image to check the export on: {source}")
    return [[image[..., :_LARGEST, :_LARGEST].contiguous(), *others] for image, *others in found], source


def _write(
    kind: Kind, model: nn.Module, inputs: Sequence[Tensor], path: Path, known: dict[str, str], divisor: int
) -> list[str]:
    """Write the file; returns notes for the user.

    Raises:
        ExportError: this network can't be exported.
    """
    image, *others = inputs
    # Two images of unequal sides, so that no dimension is taken for a constant.
    example = (nn.functional.interpolate(image, (2 * divisor, 3 * divisor)).repeat(2, 1, 1, 1),)
    example += tuple(other.repeat(2) for other in others)  # type: ignore[assignment]
    match kind:
        case "onnx":
            return _write_onnx(_of_one_tensor(model, example), example, path, known, divisor)
        case "torchscript":
            # Warnings on tracing say nothing: the check afterwards decides whether the file is right.
            with warnings.catch_warnings(action="ignore"), torch.no_grad(), _export_errors(kind):
                traced = torch.jit.trace(_of_one_tensor(model, example), example)
                torch.jit.save(traced, path, {METADATA: json.dumps(known)})
        case "safetensors":
            from safetensors.torch import save

            with _export_errors(kind):
                weights = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
                path.write_bytes(save(weights, known))
        case _:
            assert_never(kind)
    return []


def _of_one_tensor(model: nn.Module, example: Sequence[Tensor]) -> nn.Module:
    """Return the network; one that returns a mapping or a tuple is wrapped to return its tensor."""
    with torch.no_grad():
        return model if isinstance(model(*example), Tensor) else OneTensor(model)


def _write_onnx(
    model: nn.Module, example: tuple[Tensor, ...], path: Path, known: Mapping[str, str], divisor: int
) -> list[str]:
    """Write with torch's exporter, or with its older one where that fails."""
    import onnx

    names, notes = ["image", "sequence"][: len(example)], list[str]()
    batch, high, wide = (torch.export.Dim(name) for name in ("batch", "high", "wide"))
    shapes = ({0: batch, 2: divisor * high, 3: divisor * wide}, {0: batch})[: len(example)]
    write = partial(torch.onnx.export, model, example, input_names=names, output_names=["logits"])
    with warnings.catch_warnings(action="ignore"), torch.no_grad(), _export_errors("onnx"):
        try:
            program = write(dynamo=True, dynamic_shapes=shapes, verbose=False)
            assert program is not None
            program.save(path, external_data=False)
        except Exception as error:  # noqa: BLE001  the exporter raises many kinds, for what it can't follow
            notes.append(
                f"written by torch's older exporter, since the newer one failed: {first_line(error)}"
            )
            # The older exporter takes axes by name instead of dimensions.
            axes = {"image": {0: "batch", 2: "height", 3: "width"}, "sequence": {0: "batch"}}
            axes = {name: axes[name] for name in names} | {"logits": axes["image"]}
            write(str(path), dynamo=False, dynamic_axes=axes)
        content = onnx.load(path)
        onnx.helper.set_model_props(content, dict(known))
        onnx.save(content, path)
    return notes


def _opened(kind: Kind, path: Path, loaded: Segmenter) -> Network:
    """Open the file as another program would."""
    match kind:
        case "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
            names = [each.name for each in session.get_inputs()]

            def network(*inputs: Tensor) -> Tensor:
                fed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
                return torch.from_numpy(session.run(None, fed)[0])

            return network
        case "torchscript":
            with warnings.catch_warnings(action="ignore"):
                opened: Network = torch.jit.load(path)
            return opened
        case "safetensors":
            from safetensors.torch import load_file

            model = loaded.config.create_model(loaded.facts)
            model.load_state_dict(load_file(path))
            return model.eval()
        case _:
            assert_never(kind)


def _compare(model: nn.Module, exported: Network, samples: Sequence[Sequence[Tensor]], divisor: int) -> float:
    """Return the largest difference over the images, each alone and, smaller, twice in a batch.

    Raises:
        ExportError: it is above the tolerance.
    """
    largest, tiles = 0.0, Tiles(_LARGEST, 0, divisor)
    for image, *others in samples:
        # The second size and batch size detect dimensions that the exporter has fixed.
        half = image[..., : max(1, image.shape[-2] // 2), : max(1, image.shape[-1] // 2)]
        twice = [half.repeat(2, 1, 1, 1), *(other.repeat(2) for other in others)]
        for inputs in ([image, *others], twice):
            with torch.no_grad(), _export_errors("file"):
                expected, found = (infer(OneTensor(each), inputs, tiles) for each in (model, exported))
            apart = (expected - found).abs()
            largest = max(largest, float(apart.max()))
            if not bool((apart <= TOLERANCE * expected.abs().clamp(min=1)).all()):
                raise ExportError(
                    f"the file's output differs by {float(apart.max()):.2g} from the run's, on images "
                    f"of shape {tuple(inputs[0].shape)}; expected at most {TOLERANCE:g}. Nothing was written"
                )
    return largest


@contextmanager
def _export_errors(kind: str) -> Iterator[None]:
    """Raise any exception of a library as an `ExportError` of one line."""
    try:
        yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(f"{kind}: {type(error).__name__}: {first_line(error)}") from error
