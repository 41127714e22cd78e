"""Readable class labels of ImageNet."""

import re
from collections import Counter
from collections.abc import Sequence


def imagenet_labels(subset: str = "imagenet-1k") -> tuple[str, ...]:
    """Return the labels of an ImageNet subset, named and ordered as timm does (timm/data/imagenet_info.py)."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo(subset)
    descriptions = list(info.label_descriptions())
    detailed = list(info.label_descriptions(detailed=True))
    definitions = [long.removeprefix(f"{short}: ") for short, long in zip(descriptions, detailed, strict=True)]
    return readable_labels(descriptions, definitions)


def readable_labels(descriptions: Sequence[str], definitions: Sequence[str]) -> tuple[str, ...]:
    """Shorten WordNet descriptions, the synonyms of each class separated by `, `, to one name each.

    `Egyptian cat, tabby` becomes `Egyptian cat`. Where two classes share the first name, all synonyms are kept; where
    those are equal too, a part of the definition is added: ImageNet has two classes `crane`, a bird and a machine.
    """
    first_names = [description.split(",")[0].strip() for description in descriptions]
    uses_of_name, uses_of_description = Counter(first_names), Counter(descriptions)
    labels = []
    for name, description, definition in zip(first_names, descriptions, definitions, strict=True):
        if uses_of_name[name] == 1:
            labels.append(name)
        elif uses_of_description[description] == 1:
            labels.append(description)
        else:
            gist = re.split(r"; | of |, ", definition)[0]
            labels.append(f"{description} ({gist})")
    return tuple(labels)
