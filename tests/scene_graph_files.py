"""Writes small files of exactly the formats that Action Genome and EASG are published in."""

import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_OBJECTS = """
person bag bed blanket book box broom chair closetcabinet clothes cupglassbottle dish door doorknob
doorway floor food groceries laptop light medicine mirror papernotebook phonecamera picture pillow
refrigerator sandwich shelf shoe sofacouch table television towel vacuum window
"""
_RELATIONS = """
lookingat notlookingat unsure above beneath infrontof behind onthesideof in carrying coveredby
drinkingfrom eating haveitontheback holding leaningon lyingon notcontacting otherrelationship sittingon
standingon touching twisting wearing wiping writingon
"""
OBJECTS, RELATIONS = _OBJECTS.split(), _RELATIONS.split()
WIDTH, HEIGHT = 480, 270


def person(boxes: Sequence[Sequence[float]] = ((48, 27, 240, 243),)) -> dict[str, Any]:
    """An entry of person_bbox.pkl: boxes x1 y1 x2 y2 of a detector, with its key points."""
    count = len(boxes)
    return {
        "bbox": np.array(boxes, np.float32).reshape(-1, 4),
        "bbox_score": np.full(count, 0.99, np.float32),
        "bbox_size": (WIDTH, HEIGHT),
        "bbox_mode": "xyxy",
        "keypoints": np.zeros((count, 17, 3), np.float32),
        "keypoints_logits": np.zeros((count, 17), np.float32),
    }


def thing(
    name: str,
    box: Sequence[float] | None = (96, 54, 48, 27),
    attention: Sequence[str] = ("looking_at",),
    spatial: Sequence[str] = ("in_front_of",),
    contact: Sequence[str] = ("holding",),
    part: str = "train",
) -> dict[str, Any]:
    """A thing of a frame in object_bbox_and_relationship.pkl, x y w h; without a box it isn't visible."""
    seen = box is not None
    return {
        "class": name,
        "bbox": tuple(box) if box is not None else None,
        "attention_relationship": list(attention) if seen else None,
        "spatial_relationship": list(spatial) if seen else None,
        "contacting_relationship": list(contact) if seen else None,
        "visible": seen,
        "metadata": {"tag": "", "set": part},
    }


def write_action_genome(
    folder: Path,
    persons: Mapping[str, Any],
    things: Mapping[str, Any],
    listed: Sequence[str] | None = None,
    protocol: int = 4,
) -> Path:
    """The five files of the annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    for tag, many in things.items():
        for one in many if isinstance(many, list) else ():
            if isinstance(one, dict) and isinstance(one.get("metadata"), dict):
                one["metadata"]["tag"] = tag
    (folder / "person_bbox.pkl").write_bytes(pickle.dumps(dict(persons), protocol))
    (folder / "object_bbox_and_relationship.pkl").write_bytes(pickle.dumps(dict(things), protocol))
    (folder / "object_classes.txt").write_text("\n".join(OBJECTS) + "\n", encoding="utf-8")
    (folder / "relationship_classes.txt").write_text("\n".join(RELATIONS) + "\n", encoding="utf-8")
    tags = list(things) if listed is None else listed
    (folder / "frame_list.txt").write_text("".join(f"{tag}\n" for tag in tags), encoding="utf-8")
    return folder


def grounding(left: float, top: float, width: float, height: float) -> dict[str, float]:
    return {"left": left, "top": top, "width": width, "height": height}


def graph(uid: str, triplets: Sequence[Sequence[str]], groundings: Mapping[str, Any], first: int = 10) -> Any:
    """An action of a clip in EASG's JSON, with its three frames."""
    return {
        "graph_uid": uid,
        "pre": first,
        "pnr": first + 5,
        "post": first + 9,
        "triplets": [list(triplet) for triplet in triplets],
        "groundings": dict(groundings),
    }


def clip(
    graphs: Sequence[Any],
    split: str = "train",
    width: int = 1000,
    height: int = 500,
    video: str | None = None,
) -> dict[str, Any]:
    """A clip in EASG's JSON; where no video is named the file doesn't tell which it was cut from."""
    named = {} if video is None else {"video_uid": video}
    return {"graphs": list(graphs), "split": split, **named, "W": width, "H": height}


def write_easg(path: Path, clips: Mapping[str, Any]) -> Path:
    path.write_text(json.dumps(clips), encoding="utf-8")
    return path
