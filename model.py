"""The networks: plain torch modules, named in YAML as `net: model.MLP`. Add your own beside them."""

import difflib
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
Activation = Literal["relu", "gelu", "silu", "tanh"]


class MLP(nn.Module):
    """A fully connected network of `layers` hidden layers, each `width` wide.

    Input (N, in_features), output (N, out_features), both float; the output has no activation.

    Raises:
        ValueError: a size is below 1 (`layers` may be 0: a linear model), or the activation is unknown.
    """

    def __init__(
        self,
        in_features: int = 1,
        out_features: int = 1,
        layers: int = 4,
        width: int = 64,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        _require_positive(in_features=in_features, out_features=out_features, width=width, layers=layers + 1)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, found {activation!r}")
        steps: list[nn.Module] = []
        size = in_features
        for _ in range(layers):
            steps += [nn.Linear(size, width), ACTIVATIONS[activation]()]
            size = width
        self.body = nn.Sequential(*steps, nn.Linear(size, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_features) to values (N, out_features)."""
        out: Tensor = self.body(x)
        return out


class ConvNet(nn.Module):
    """A small classifier for small pictures: `depth` stages of two 3×3 convolutions, each stage twice as
    wide.

    Between two stages the picture is halved, so it needs at least 2^(depth − 1) pixels a side; the last stage
    is averaged over the picture, so that any larger size works as well.

    Input (N, in_channels, H, W) float, output logits (N, classes).

    Raises:
        ValueError: a size is below 1, or `dropout` is outside [0, 1).
    """

    def __init__(
        self,
        classes: int = 10,
        in_channels: int = 1,
        width: int = 32,
        depth: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _require_positive(classes=classes, in_channels=in_channels, width=width, depth=depth)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), found {dropout}")
        steps: list[nn.Module] = []
        size = in_channels
        for stage in range(depth):
            wide = width * 2**stage
            steps += [nn.MaxPool2d(2)] if stage else []
            for inputs in (size, wide):
                # The normalisation that follows has a bias of its own.
                steps += [nn.Conv2d(inputs, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            size = wide
        self.features = nn.Sequential(*steps)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(size, classes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Pictures (N, in_channels, H, W) to logits (N, classes)."""
        out: Tensor = self.head(self.features(image))
        return out


def classifier(
    network: str = "resnet18", pretrained: bool = False, classes: int = 2, in_channels: int = 3
) -> nn.Module:
    """A classification network from timm, any by its name, with an output for each class.

    Input (N, in_channels, H, W) float, output logits (N, classes). With `pretrained` its weights are fetched
    once into the cache of huggingface_hub; those of the output layer are random for other classes.

    Raises:
        ValueError: the network is unknown, or its weights can't be downloaded.
    """
    import timm  # seconds to import
    from huggingface_hub.errors import HfHubHTTPError

    _require_positive(classes=classes, in_channels=in_channels)
    try:
        made: nn.Module = timm.create_model(
            network, pretrained=pretrained, num_classes=classes, in_chans=in_channels
        )
    except RuntimeError as error:  # timm's word that it knows no such network, or no such weights of it
        near = difflib.get_close_matches(network, timm.list_models(pretrained=pretrained), n=3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        reason = str(error).rstrip(".")
        raise ValueError(f"network {network!r}: {reason}; {hint}timm.list_models() names all") from error
    except (OSError, HfHubHTTPError) as error:
        raise _not_downloaded("pretrained", f"of {network!r}", "false", error) from error
    return made


def segmenter(
    architecture: str = "Unet",
    encoder: str = "resnet18",
    encoder_weights: str | None = None,
    in_channels: int = 3,
    classes: int = 1,
) -> nn.Module:
    """A segmentation network from segmentation-models-pytorch: any of its architectures on any of its
    encoders.

    Input (N, in_channels, H, W) float with H and W divisible by 32, output logits (N, classes, H, W). Without
    `encoder_weights` nothing is downloaded; with a name (`imagenet`) they are fetched once into the cache of
    huggingface_hub.

    Raises:
        ValueError: the architecture, encoder or weights are unknown, or the weights can't be downloaded.
    """
    import segmentation_models_pytorch as smp  # seconds to import, and only segmentation needs it
    from huggingface_hub.errors import HfHubHTTPError

    architectures = sorted(smp.MODEL_ARCHITECTURES_MAPPING)
    if architecture.lower() not in architectures:
        raise ValueError(_unknown("architecture", architecture, architectures))
    encoders = sorted(smp.encoders.get_encoder_names())
    if encoder not in encoders and not encoder.startswith(("tu-", "timm-")):
        raise ValueError(_unknown("encoder", encoder, encoders))
    try:
        network: nn.Module = smp.create_model(
            architecture,
            encoder_name=encoder,
            encoder_weights=encoder_weights,
            in_channels=in_channels,
            classes=classes,
        )
    except KeyError as error:
        what = "encoder" if encoder not in encoders else "encoder_weights"
        raise ValueError(f"{what}: {error.args[0]}") from error
    except RuntimeError as error:  # timm's word that it knows no such network
        raise ValueError(f"encoder {encoder!r}: {error}") from error
    except (OSError, HfHubHTTPError) as error:
        what = f"{encoder_weights!r} of {encoder!r}"
        raise _not_downloaded("encoder_weights", what, "null", error) from error
    return network


class FiLMSegmenter(nn.Module):
    """A segmentation network that is conditioned on the sequence an image belongs to.

    The features F (N, C, h, w) of one encoder stage are modulated channel by channel (FiLM: Perez et al.,
    2018, arXiv:1709.07871),

        F' = γ · F + β,        γ = 1 + W_γ e,   β = W_β e,

    by two linear layers of a learnt embedding e of the sequence. Both begin near zero, so that training
    starts close to the plain network. Where the sequence is unknown (−1), γ = 1 and β = 0: the plain network.

    Input: images (N, in_channels, H, W) float, sequences (N,) int64; output logits (N, classes, H, W).

    Args:
        architecture, encoder, encoder_weights, in_channels, classes: as for `segmenter`.
        sequences: how many there are, ≥ 1; `auto` in YAML: as many as the training images have.
        stage: whose features are modulated, from 1 (finest) to the encoder's depth; negative counts from the
            deepest, −1.
        embedding: its length, ≥ 1.
        unknown_share: share of the training images whose sequence is withheld, so that the network can do
            without, in [0, 1).

    Raises:
        ValueError: as `segmenter`; the stage doesn't exist or the architecture doesn't use it, a number is
            out of range; in `forward`, a sequence is not below `sequences`.
    """

    def __init__(
        self,
        architecture: str = "DeepLabV3Plus",
        encoder: str = "resnet18",
        encoder_weights: str | None = None,
        in_channels: int = 3,
        classes: int = 1,
        sequences: int = 1,
        stage: int = -1,
        embedding: int = 32,
        unknown_share: float = 0.1,
    ) -> None:
        super().__init__()
        _require_positive(sequences=sequences, embedding=embedding)
        if not 0 <= unknown_share < 1:
            raise ValueError(f"unknown_share must be in [0, 1), found {unknown_share}")
        if architecture.lower() == "dpt":
            raise ValueError("DPT's features are tokens, which can't be modulated; take another architecture")
        self.net = cast(Any, segmenter(architecture, encoder, encoder_weights, in_channels, classes))
        # The channels of the image itself, then of each stage.
        channels = list(self.net.encoder.out_channels)
        deepest = len(channels) - 1
        self.stage = stage + deepest + 1 if stage < 0 else stage
        if not 1 <= self.stage <= deepest:
            raise ValueError(f"stage must be in 1…{deepest} or -{deepest}…-1, found {stage}")
        if not channels[self.stage] or not self._matters(in_channels):
            raise ValueError(f"stage {stage} of {encoder} is not used by {architecture}; take another")
        self.unknown_share = unknown_share
        self.embed = nn.Embedding(sequences, embedding)
        self.gamma = nn.Linear(embedding, channels[self.stage])
        self.beta = nn.Linear(embedding, channels[self.stage])
        for layer in (self.gamma, self.beta):
            # Zeros would give the embedding no gradient.
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor, sequence: Tensor) -> Tensor:
        """Images (N, in_channels, H, W) and their sequences (N,), −1 where unknown, to logits."""
        if self.training and self.unknown_share:
            withheld = torch.rand(sequence.shape, device=sequence.device) < self.unknown_share
            sequence = sequence.masked_fill(withheld, -1)
        features = list(self.net.encoder(image))
        features[self.stage] = self._modulated(features[self.stage], sequence)
        logits: Tensor = self.net.segmentation_head(self.net.decoder(features))
        return logits

    @torch.no_grad()
    def _matters(self, in_channels: int) -> bool:
        """Return whether the output depends on the chosen stage."""
        self.net.eval()
        features = list(self.net.encoder(torch.linspace(0, 1, in_channels * 128**2).view(1, -1, 128, 128)))
        plain = self.net.decoder(list(features))
        features[self.stage] = features[self.stage] + 1
        matters = not torch.equal(plain, self.net.decoder(features))
        self.net.train()
        return matters

    def _modulated(self, features: Tensor, sequence: Tensor) -> Tensor:
        known = (sequence >= 0).to(features.dtype)[:, None]
        embedded = self.embed(sequence.clamp(min=0))
        gamma, beta = 1 + known * self.gamma(embedded), known * self.beta(embedded)
        modulated: Tensor = gamma[..., None, None] * features + beta[..., None, None]
        return modulated


class RelationNet(nn.Module):
    """A scene graph network for videos: a small transformer over each frame, then over time.

    A pair's token is the sum of what is seen of its subject and object (appearance, place, and the embeddings
    of the classes weighted by their probabilities) and of how the two lie to one another. The tokens of a
    frame attend to one another; then, with their time written into them, those of a video whose objects are
    of one class, which stands for a track (after STTran, Cong et al. 2021, arXiv:2107.12309, but smaller).

    A box's class is judged by appearance, place, and the detector's probabilities where there are any. Where
    it is given for sure (one-hot), that is what its pairs see, and its logits are a guess without.

    Input `SceneGraphBatch`, output `SceneGraphPrediction` (`lab.graphs`). Videos of a batch are independent.

    Args:
        objects, relations, features: how many classes, relations by group, and features; `auto` in YAML.
        width: of a token, a multiple of `heads` and even.
        spatial_layers, temporal_layers: how many, ≥ 0.

    Raises:
        ValueError: a size is out of range, or there is no relation.
    """

    def __init__(
        self,
        objects: int,
        relations: dict[str, int],
        features: int = 0,
        width: int = 64,
        spatial_layers: int = 1,
        temporal_layers: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        _require_positive(objects=objects, width=width, heads=heads, relations=len(relations))
        _require_positive(**relations)
        if min(features, spatial_layers, temporal_layers) < 0 or not 0 <= dropout < 1:
            raise ValueError("features and layers must be at least 0, and dropout in [0, 1)")
        if width % heads or width % 2:
            raise ValueError(f"width must be even and a multiple of heads, found {width} and {heads}")
        options: dict[str, Any] = {"activation": "gelu", "batch_first": True, "norm_first": True}
        layer = partial(nn.TransformerEncoderLayer, width, heads, 2 * width, dropout, **options)
        self.guess = nn.Sequential(nn.Linear(features + 4, width), nn.GELU(), nn.Linear(width, objects))
        self.see = nn.Linear(features + 4, width)
        self.embed = nn.Linear(objects, width, bias=False)
        self.subject, self.object = nn.Linear(width, width), nn.Linear(width, width)
        self.lie = nn.Sequential(nn.Linear(10, width), nn.GELU(), nn.Linear(width, width))
        self.spatial = nn.ModuleList(layer() for _ in range(spatial_layers))
        self.temporal = nn.ModuleList(layer() for _ in range(temporal_layers))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleDict({group: nn.Linear(width, count) for group, count in relations.items()})

    def forward(self, scenes: Mapping[str, Tensor]) -> dict[str, Any]:
        """Scenes to logits of the boxes' classes (B, objects) and of the pairs' relations (P, K) by group."""
        boxes, given = scenes["boxes"], scenes["classes"]
        seen = torch.cat([scenes["features"], boxes], 1)
        # A class that is given for sure is used as it is; else detector and network vote together.
        sure = (given == 1).any(1, keepdim=True)
        logits = self.guess(seen) + given.clamp(min=1e-3).log().masked_fill(sure, 0)
        belief = torch.where(sure, given, logits.float().softmax(1))
        box = self.see(seen) + self.embed(belief)
        subject, thing = scenes["pairs"].unbind(1)
        token = self.subject(box[subject]) + self.object(box[thing])
        token = token + self.lie(_lie(boxes[subject], boxes[thing]))
        # First over the pairs of a frame, then over a video's pairs with the same class of object.
        frame = scenes["frame_of_box"][subject]
        token = _attend(self.spatial, token, frame) + _waves(scenes["time"][frame], token.shape[1])
        track = scenes["video_of_frame"][frame] * given.shape[1] + belief[thing].argmax(1)
        token = self.norm(_attend(self.temporal, token, track))
        relations = {group: head(token) for group, head in self.heads.items()}
        return {"scenes": scenes, "objects": logits, "relations": relations}


def _not_downloaded(key: str, weights: str, off: str, error: Exception) -> ValueError:
    from huggingface_hub import constants

    return ValueError(
        f"net.{key}: the weights {weights} can't be downloaded. Set that line to {off} to start with random "
        f"weights, or run once with a network (or copy the files) so that they are in "
        f"{constants.HF_HUB_CACHE}; HF_HUB_OFFLINE=1 skips the retries. "
        f"Cause: {str(error).splitlines()[0]}"
    )


def _unknown(name: str, found: str, known: Iterable[str]) -> str:
    known = list(known)
    near = difflib.get_close_matches(found.lower(), known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {name} {found!r}; {hint}Known: {', '.join(known)}"


def _require_positive(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, found {size}")


def _lie(one: Tensor, two: Tensor) -> Tensor:
    """The relative position of boxes (P, 4): offset, its length and size in units of the first, overlaps."""
    size, other = ((box[:, 2:] - box[:, :2]).clamp(min=1e-4) for box in (one, two))
    offset = (two[:, :2] + two[:, 2:] - one[:, :2] - one[:, 2:]) / 2
    shared = (torch.minimum(one[:, 2:], two[:, 2:]) - torch.maximum(one[:, :2], two[:, :2])).clamp(min=0)
    area, areas = shared.prod(1, keepdim=True), [each.prod(1, keepdim=True) for each in (size, other)]
    shares = [area / areas[0], area / areas[1], area / (areas[0] + areas[1] - area)]
    apart = [offset, offset / size, offset.norm(dim=1, keepdim=True), (other / size).log()]
    return torch.cat([*apart, *shares], 1).clamp(-10, 10)


def _waves(time: Tensor, width: int) -> Tensor:
    """Times (P,) as sines and cosines of `width` / 2 frequencies (Vaswani et al. 2017, arXiv:1706.03762)."""
    steps = torch.arange(width // 2, device=time.device) / (width // 2)
    angles = time[:, None] * 1e4**-steps
    return torch.cat([angles.sin(), angles.cos()], 1)


def _attend(layers: nn.ModuleList, tokens: Tensor, group: Tensor) -> Tensor:
    """Tokens (P, W) through layers in which those of one group (P,) see one another only."""
    if not len(layers) or not len(tokens):
        return tokens
    # Pad the groups to one length: a row for each group, a column for each of its members.
    _, row, counts = group.unique(return_inverse=True, return_counts=True)
    order = row.argsort(stable=True)
    padded = pad_sequence(tokens[order].split(counts.tolist()), batch_first=True)
    # Padding is masked, so a token attends only to those of its group.
    absent = torch.arange(padded.shape[1], device=row.device) >= counts[:, None]
    for layer in layers:
        padded = layer(padded, src_key_padding_mask=absent)
    return padded[~absent][order.argsort()]
