"""All classification models of torchvision, without weights, and the size of images that each takes."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from tests.zoo.specimen import CLASSES, Specimen, classification, image

# The smallest size that works in training mode, from 32 on: at less, the last stages see almost only padding.
# A vision transformer needs a multiple of its patch size; the auxiliary classifier of inception_v3 needs all of 299.
SIZE = 32
SIZES: Mapping[str, int] = {"alexnet": 64, "inception_v3": 299, "maxvit_t": 224, "vit_h_14": 28}

LINES = """
alexnet
convnext_tiny convnext_small convnext_base convnext_large
densenet121 densenet161 densenet169 densenet201
efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6
efficientnet_b7 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l
googlenet inception_v3
maxvit_t
mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3
mobilenet_v2 mobilenet_v3_small mobilenet_v3_large
regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf regnet_x_8gf regnet_x_16gf regnet_x_32gf
regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf
resnet18 resnet34 resnet50 resnet101 resnet152
resnext50_32x4d resnext101_32x8d resnext101_64x4d
shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
squeezenet1_0 squeezenet1_1
swin_t swin_s swin_b swin_v2_t swin_v2_s swin_v2_b
vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn
vit_b_16 vit_b_32 vit_l_16 vit_l_32 vit_h_14
wide_resnet50_2 wide_resnet101_2
"""
NAMES = LINES.split()

LARGE = {"convnext_large", "regnet_y_128gf", "vit_l_16", "vit_l_32", "vit_h_14"}


def options(name: str, size: int) -> dict[str, Any]:
    """What a constructor needs to know of the size, and to keep quiet about a default that will change."""
    if name.startswith("vit"):
        return {"image_size": size}
    if name.startswith("maxvit"):
        return {"input_size": (size, size)}
    return {"init_weights": True} if name in ("googlenet", "inception_v3") else {}


def specimen(name: str) -> Specimen:
    size = SIZES.get(name, SIZE)

    def make() -> nn.Module:
        from torchvision import models

        model: nn.Module = models.get_model(name, weights=None, num_classes=CLASSES, **options(name, size))
        return model

    return Specimen(
        f"torchvision/{name}", make, image(size), classification, large=name in LARGE, needs=("torchvision",)
    )


SPECIMENS = [specimen(name) for name in NAMES]
