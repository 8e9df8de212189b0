"""Search spaces with points that can't be built, repeated points, and points that are to be tried first."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from selftest.inputs.base import RUN, Files, WrongInput, config, mine
from selftest.studies import described

STUDY = "study.yaml"
_USUAL = {"study_name": "input", "run": RUN, "isolation": "none", "preflight": "off"}


def studies() -> Iterator[WrongInput]:
    """The studies that `studies.yaml` describes."""
    for each in described(__file__):
        files = _files(each["study"], each.get("net", "Fixed"))
        expected, words = each.get("expected", {}), each.get("words", ())
        yield WrongInput(
            "studies", each["what"], files, expected, words, command=("--optimize", STUDY, "--json")
        )


def _files(study: Mapping[str, object], net: str) -> Files:
    def files(folder: Path) -> Mapping[str, object]:
        (folder / STUDY).write_text(yaml.safe_dump({**_USUAL, **study}, sort_keys=False))
        classes = {"task": "lab.tasks.Classification", "criterion": "torch.nn.CrossEntropyLoss"}
        return config(data=mine("classes"), net=mine(net), **classes)

    return files
