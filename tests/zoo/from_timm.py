"""Models of timm, one or two for each way of computing, without weights and as small as their options allow."""

from typing import Any

from torch import nn

from tests.zoo.specimen import CLASSES, Specimen, classification, image


def specimen(name: str, size: int, *, entry: str | None = None, **options: Any) -> Specimen:
    """A model that timm calls ``entry`` (by default, ``name``), for images of this size."""

    def make() -> nn.Module:
        import timm

        model: nn.Module = timm.create_model(entry or name, pretrained=False, num_classes=CLASSES, **options)
        return model

    return Specimen(f"timm/{name}", make, image(size), classification, needs=("timm",))


SPECIMENS = [
    # Attention: most of these read weights of modules that they never call.
    specimen("beit", 32, entry="beit_base_patch16_224", img_size=32, embed_dim=64, depth=2, num_heads=4),
    specimen("beitv2", 32, entry="beitv2_base_patch16_224", img_size=32, embed_dim=64, depth=2, num_heads=4),
    specimen("deit3", 32, entry="deit3_small_patch16_224", img_size=32, depth=2),
    specimen("eva02", 28, entry="eva02_tiny_patch14_224", img_size=28, depth=2),
    specimen("levit", 32, entry="levit_128s", img_size=32),
    specimen("levit-conv", 32, entry="levit_conv_128s", img_size=32),
    specimen("mobilevit", 32, entry="mobilevit_xxs"),
    specimen("mobilevitv2", 32, entry="mobilevitv2_050"),
    specimen("pvt_v2", 32, entry="pvt_v2_b0"),
    specimen("swinv2", 32, entry="swinv2_tiny_window8_256", img_size=32, window_size=4),
    specimen("swinv2_cr", 32, entry="swinv2_cr_tiny_ns_224", img_size=32),
    specimen("vit_tiny", 32, entry="vit_tiny_patch16_224", img_size=32, depth=2),
    specimen("test_vit", 32, img_size=32),
    specimen("test_vit_relpos", 160),
    specimen("test_coatnet", 160),
    # Convolution.
    specimen("convmixer", 32, entry="convmixer_768_32"),
    specimen("convnext_atto", 32),
    specimen("convnextv2_atto", 32),
    specimen("efficientnet_b0", 32),
    specimen("ghostnet_050", 32),
    specimen("mobilenetv3_small_050", 32),
    specimen("resnet18", 32),
    specimen("resnet26", 32),
    specimen("test_byobnet", 32),
    specimen("test_efficientnet_evos", 32),
    specimen("test_mambaout", 32),
    # Its convolutions standardise their weights in each forward pass.
    specimen("test_nfnet", 32),
    # Dense layers over patches.
    specimen("mixer", 32, entry="mixer_s32_224", img_size=32),
]
