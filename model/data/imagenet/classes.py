"""The classes of ImageNet-1k by index, as a class index file that comes with the project."""

from importlib.resources import as_file, files

from model.data.images.classes import Classes, read_class_index


def imagenet_classes() -> Classes:
    """All 1000 in the order of their sorted synsets, which are their keys.

    Names are the first words of the synsets in WordNet, qualified where two classes share one;
    no name or alias stands for two classes, whatever the case.
    """
    with as_file(files("model.data.imagenet") / "classes.json") as path:
        return read_class_index(path)
