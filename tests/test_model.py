from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import model


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("layers", "hidden"), [(0, 0), (1, 1), (4, 4)])
def test_mlp_has_the_layers_it_was_asked_for(layers: int, hidden: int) -> None:
    net = model.MLP(3, 2, layers=layers, width=16)
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert len(linear) == hidden + 1
    assert (linear[0].in_features, linear[-1].out_features) == (3, 2)
    assert net(torch.zeros(5, 3)).shape == (5, 2)


def test_mlp_parameters_in_closed_form() -> None:
    assert parameters(model.MLP(1, 1, layers=4, width=64)) == (1 + 1) * 64 + 3 * (64 + 1) * 64 + 64 + 1


def test_mlp_without_hidden_layers_is_linear() -> None:
    net = model.MLP(2, 1, layers=0)
    x, y = torch.randn(2, 4, 2)
    torch.testing.assert_close(net(x + y), net(x) + net(y) - net(torch.zeros(1, 2)))


@pytest.mark.parametrize("activation", model.ACTIVATIONS)
def test_mlp_activations(activation: model.Activation) -> None:
    net = model.MLP(activation=activation)
    assert any(isinstance(m, model.ACTIVATIONS[activation]) for m in net.modules())


@pytest.mark.parametrize("size", [8, 9, 28])
@pytest.mark.parametrize(("channels", "depth"), [(1, 2), (3, 3)])
def test_convnet_shapes(size: int, channels: int, depth: int) -> None:
    net = model.ConvNet(classes=7, in_channels=channels, width=8, depth=depth)
    assert net(torch.zeros(2, channels, size, size)).shape == (2, 7)
    widths = [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert widths == [8 * 2**stage for stage in range(depth) for _ in range(2)]


@pytest.mark.parametrize("make", [model.MLP, model.ConvNet, model.segmenter])
def test_every_parameter_gets_a_gradient(make: object) -> None:
    torch.manual_seed(0)
    net = make()  # type: ignore[operator]
    shape = {model.MLP: (4, 1), model.ConvNet: (4, 1, 8, 8)}.get(make, (2, 3, 64, 64))  # type: ignore[call-overload]
    net(torch.randn(shape)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize(
    ("make", "arguments"),
    [
        (model.MLP, {"width": 0}),
        (model.MLP, {"layers": -1}),
        (model.MLP, {"activation": "tan"}),
        (model.ConvNet, {"classes": 0}),
        (model.ConvNet, {"in_channels": 0}),
        (model.ConvNet, {"dropout": 1.0}),
        (model.classifier, {"classes": 0}),
        (model.classifier, {"in_channels": 0}),
    ],
)
def test_arguments_out_of_range(make: type[nn.Module], arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        make(**arguments)


def test_classifier_is_the_published_network_with_a_head_for_the_classes() -> None:
    resnet18 = 11_689_512  # He et al., 2016, with 1,000 classes
    assert parameters(model.classifier(classes=1000)) == resnet18
    grey = model.classifier("resnet18", classes=3, in_channels=1)
    assert parameters(grey) == resnet18 - 997 * (512 + 1) - 2 * 64 * 7 * 7
    assert grey(torch.zeros(2, 1, 40, 32)).shape == (2, 3)
    assert model.classifier("mobilenetv3_small_050", classes=5).eval()(torch.zeros(1, 3, 64, 64)).shape == (
        1,
        5,
    )


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("resnet81", "network 'resnet81': Unknown model (resnet81); did you mean resnet18 or "),
        (
            "resnet18.nope",
            "network 'resnet18.nope': Invalid pretrained tag (nope) for resnet18; did you mean ",
        ),
        ("qqqqqq", "network 'qqqqqq': Unknown model (qqqqqq); timm.list_models() names all"),
    ],
)
def test_a_network_that_timm_does_not_know(network: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        model.classifier(network)
    assert str(error.value).startswith(message)


def test_unet_resnet18_has_its_parameters_and_keeps_the_size() -> None:
    net = model.segmenter()
    assert parameters(net) == 14_328_209
    assert net(torch.zeros(1, 3, 64, 96)).shape == (1, 1, 64, 96)


def test_segmenter_takes_another_architecture_and_other_channels() -> None:
    net = model.segmenter("FPN", "resnet18", in_channels=1, classes=4)
    assert net(torch.zeros(2, 1, 64, 64)).shape == (2, 4, 64, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "Unett"}, "did you mean 'unet'"),
        ({"encoder": "resnet81"}, "did you mean 'resnet18'"),
        ({"encoder_weights": "imagenett"}, "encoder_weights: .*'imagenet'"),
    ],
)
def test_segmenter_names_what_is_unknown(arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.segmenter(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "arguments", "message", "off"),
    [
        (
            model.segmenter,
            {"encoder_weights": "imagenet"},
            "encoder_weights: the weights 'imagenet' of",
            "null",
        ),
        (model.classifier, {"pretrained": True}, "pretrained: the weights of", "false"),
    ],
)
def test_weights_that_cannot_be_downloaded_name_the_config_line(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make: Callable[..., nn.Module],
    arguments: dict[str, object],
    message: str,
    off: str,
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError) as error:
        make(**arguments)
    text = str(error.value)
    assert text.startswith(f"net.{message} 'resnet18' can't be downloaded. Set that line to {off} to start")
    assert str(tmp_path) in text


FILM = {"architecture": "Unet", "in_channels": 1, "sequences": 3}


@pytest.mark.parametrize("architecture", ["DeepLabV3Plus", "Unet", "FPN"])
def test_film_is_the_plain_network_where_gamma_is_one_and_beta_zero(architecture: str) -> None:
    torch.manual_seed(0)
    net = model.FiLMSegmenter(architecture, sequences=3).eval()
    image, sequences = torch.rand(3, 3, 64, 64), torch.tensor([0, 2, -1])
    with torch.no_grad():
        plain = net.net(image)
        torch.testing.assert_close(net(image, sequences), plain, atol=0.3, rtol=0.1)  # it begins near it
        for layer in (net.gamma, net.beta):
            nn.init.zeros_(layer.weight)
        assert torch.equal(net(image, sequences), plain)


def test_film_modulates_the_known_sequences_only() -> None:
    torch.manual_seed(0)
    net = model.FiLMSegmenter(**FILM).eval()
    for layer in (net.gamma, net.beta):
        nn.init.normal_(layer.weight)
    image = torch.rand(1, 1, 64, 64).expand(3, -1, -1, -1)
    with torch.no_grad():
        first, second, unknown = net(image, torch.tensor([0, 1, -1]))
        plain = net.net(image[:1])[0]
    torch.testing.assert_close(unknown, plain)
    assert (first - second).abs().max() > 0.1 < (first - plain).abs().max()


def test_film_is_gamma_times_features_plus_beta() -> None:
    net = model.FiLMSegmenter(**FILM, stage=2)
    for layer in (net.gamma, net.beta):
        nn.init.zeros_(layer.weight)
    nn.init.constant_(net.gamma.bias, 1.0)  # γ = 1 + 1
    nn.init.constant_(net.beta.bias, 3.0)
    features = torch.rand(2, 64, 5, 7)
    made = net._modulated(features, torch.tensor([1, -1]))
    torch.testing.assert_close(made[0], 2 * features[0] + 3)
    torch.testing.assert_close(made[1], features[1])
    assert net.stage == 2 and net.gamma.out_features == 64


def test_film_withholds_sequences_in_training_only() -> None:
    net = model.FiLMSegmenter(**FILM, unknown_share=0.5)
    nn.init.constant_(net.beta.bias, 3.0)
    seen: list[torch.Tensor] = []
    net._modulated = lambda features, sequence: seen.append(sequence) or features  # type: ignore
    torch.manual_seed(0)
    net(torch.rand(64, 1, 32, 32), torch.ones(64, dtype=torch.int64))
    assert 16 < int((seen[0] == -1).sum()) < 48 and set(seen[0].tolist()) == {-1, 1}
    net.eval()(torch.rand(2, 1, 32, 32), torch.ones(2, dtype=torch.int64))
    assert seen[1].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": "DeepLabV3Plus", "stage": 3}, "stage 3 of resnet18 is not used by DeepLabV3Plus"),
        ({"stage": 6}, "stage must be in 1…5 or -5…-1, found 6"),
        ({"stage": 0}, "stage must be in 1…5"),
        ({"sequences": 0}, "sequences must be at least 1, found 0"),
        ({"unknown_share": 1.0}, r"unknown_share must be in \[0, 1\), found 1.0"),
        ({"architecture": "DPT"}, "can't be modulated; take another architecture"),
        ({"encoder": "resnet-18"}, "unknown encoder 'resnet-18'; did you mean 'resnet18'"),
    ],
)
def test_film_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.FiLMSegmenter(**FILM | arguments)  # type: ignore[arg-type]
