"""A text file with the paths of images, one a line, whose annotations are VOC's XML files or YOLO's label files."""

from collections.abc import Iterable
from pathlib import Path

from ...datasets.reading import StopAtFirst, read_names
from ...datasets.stage_filter import ImageFolder
from ...datasets.voc_reader import read_annotation
from ...errors import InputError
from ..convert import Sizes, Table, converted
from ..layouts import CocoFiles, Given
from .darknet import names_file
from .voc import labelled
from .yolo import listed_images
from .yolo_labels import Labels, label_files

NAME = 'list of images (a .txt with paths)'


def fits(path: Path) -> bool:
    """Whether it is a text file."""
    return path.is_file() and path.suffix.lower() == '.txt'


def found(path: Path, given: Given) -> CocoFiles:
    """Convert the annotations of the images that a file lists.

    A path is relative to the list, to the folder of ``--images`` or to the working directory; its extension may lack. The XML
    file of an image has its name, in the folder of ``--annotations``, in ``Annotations`` beside ``JPEGImages`` or beside the
    image; without XML files they are YOLO's label files, with a file of class names beside the list or in a folder above.

    Raises:
        InputError: an image has no annotation, or a file cannot be read.
    """
    roots = [path.parent, *([Path(given.images)] if given.images else [])]
    images = listed_images(path, roots, _with_extension)
    if not images:
        raise InputError(f'{path} lists no image: give a file with the path of an image a line')
    xml = {image: _xml_file(image, roots, given) for image in images}
    if not any(xml.values()):
        return converted(_yolo(path, images, given), given)
    if lone := [str(image) for image in images if xml[image] is None]:
        raise InputError(f'{path} lists {len(lone)} images without an XML file, the first is {lone[0]}: add it, take the line '
                         'out, or name the folder of the XML files by --annotations')
    reader, sizes = StopAtFirst(), Sizes()
    table = [labelled(image, file, reader, sizes) for image, file in xml.items()]
    # Also the classes of other images there: the lists of other splits have the same ones then.
    files = sorted({file for folder in {file.parent for file in xml.values()} for file in folder.glob('*.xml')})
    names = sorted({one['name'] for file in files for one in read_annotation(str(file)).objects})
    told = [*reader.lines(), *sizes.lines()]
    return converted(Table(path, path.parent, names, {'train': table}, told, whole=path.stem), given)


def _yolo(path: Path, images: Iterable[Path], given: Given) -> Table:
    if not any(file.is_file() for image in images for file in label_files(image)):
        where = given.annotations or 'Annotations, beside the images or in labels'
        raise InputError(f'no image that {path} lists has an XML file or a label file (looked for in {where}): name the folder '
                         'of XML files by --annotations')
    folders = (path.parent, *path.absolute().parent.parents[:2])
    file = next((file for folder in folders if (file := names_file(folder))), None)
    if file is None:
        raise InputError(f'{path}: its images have label files, but no obj.names or classes.txt lies beside the list or in a '
                         'folder above: write one with a class name a line')
    names = read_names(str(file))
    labels = Labels(names, file)
    return Table(path, path.parent, names, {'train': labels.read(images, path.stem)}, labels.told(), whole=path.stem)


def _with_extension(place: Path) -> Path | None:
    """The image of a path, which may lack its extension."""
    if place.is_file():
        return place
    name = ImageFolder(str(place.parent)).find(place.name) if place.parent.is_dir() else None
    return place.parent / name if name else None


def _xml_file(image: Path, roots: Iterable[Path], given: Given) -> Path | None:
    name = image.with_suffix('.xml').name
    if given.annotations:
        places = [root / given.annotations / name for root in (*roots, Path())]
    else:
        parts = ['Annotations' if part == 'JPEGImages' else part for part in image.parts[:-1]]
        places = [Path(*parts, name), image.with_suffix('.xml'), image.parent.parent / 'Annotations' / name]
    return next((place for place in places if place.is_file()), None)
