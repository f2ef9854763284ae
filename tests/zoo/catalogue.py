"""All specimens, by family. Listing them imports torch alone."""

from tests.zoo import (
    from_timm,
    from_torchvision,
    from_transformers,
    own_first_pass,
    own_networks,
    own_parameters,
    own_sharing,
    recurrent,
)
from tests.zoo.specimen import Specimen

FAMILIES: dict[str, list[Specimen]] = {
    "torchvision": from_torchvision.SPECIMENS,
    "timm": from_timm.SPECIMENS,
    "transformers": from_transformers.SPECIMENS,
    "recurrent": recurrent.SPECIMENS,
    "own": [
        *own_parameters.SPECIMENS,
        *own_sharing.SPECIMENS,
        *own_first_pass.SPECIMENS,
        *own_networks.SPECIMENS,
    ],
}


def specimens(*families: str, large: bool = False) -> list[Specimen]:
    """The specimens of these families (by default, of all), and the large ones only if asked for."""
    kept = [specimen for family in families or FAMILIES for specimen in FAMILIES[family]]
    return [specimen for specimen in kept if large or not specimen.large]


def specimen(name: str) -> Specimen:
    """The specimen of this name."""
    return next(specimen for specimen in specimens(large=True) if specimen.name == name)
