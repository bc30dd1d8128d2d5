"""Image files as MMDetection's loader reads them, by Pillow."""

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from ..errors import InputError

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm')
"""What files in a folder end in to be taken for images."""

_UNASSOCIATED_ALPHA = 2  # of TIFF's tag ExtraSamples


def read_image(path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Read an image as MMCV's ``imread`` does with its default settings.

    It is turned by its EXIF orientation, not by one in XMP, of which OpenCV knows nothing; of 16 bits the upper 8 count; grey
    becomes three equal channels; alpha is dropped, and colours of a palette are those of the palette.

    Args:
        path: The file.

    Returns:
        Pixels (H, W, 3), uint8, in the order blue, green, red; and what a user should know of it, in lines.

    Raises:
        InputError: the file is not there, not to be read, empty, cut off, too large, or no image that MMDetection reads.
    """
    path = Path(path)
    notes = []
    try:
        if not path.is_file():
            raise InputError('does not exist: correct the path')
        if not path.stat().st_size:
            raise InputError('is empty, a file of 0 bytes: replace it')
        with warnings.catch_warnings():
            warnings.simplefilter('error', Image.DecompressionBombWarning)
            # Opened here: a file of its own Pillow may map into memory, and then scrambles a grey TIFF that is to be turned.
            with open(path, 'rb') as file, Image.open(file) as image:
                _forget_xmp(image)
                turn = getattr(image, 'tag_v2', {}).get(ExifTags.Base.Orientation)  # of a TIFF, which is turned in loading
                image.load()
                _forget_xmp(image)  # a PNG may have it behind its pixels
                turn = turn or image.getexif().get(ExifTags.Base.Orientation, 1)
                ImageOps.exif_transpose(image, in_place=True)
                rgb = _rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f'the image {path} is too large ({error}): make it smaller, or raise PIL.Image.MAX_IMAGE_PIXELS in a '
                         'program of your own') from error
    except UnidentifiedImageError as error:
        raise InputError(f'{path} is no image that Pillow knows: give a file such as a .jpg or a .png, or a video by a name '
                         'with its usual ending') from error
    except PermissionError as error:
        raise InputError(f'the image {path} cannot be read ({error.strerror}): correct its permissions, or those of its '
                         'folder') from error
    except InputError as error:
        raise InputError(f'the image {path} {error}') from error
    except Exception as error:  # a broken file can break a decoder in any way
        raise InputError(f'the image {path} is damaged or cut off ({" ".join(str(error).split())}): replace it') from error
    if turn in range(2, 9):
        notes.append(f'{path} is turned or mirrored by its EXIF orientation {turn}, as MMDetection does: boxes are in pixels '
                     'of the turned image')
    return np.ascontiguousarray(rgb[:, :, ::-1]), notes


def _forget_xmp(image: Image.Image) -> None:
    """Where EXIF has no orientation, Pillow takes one from there."""
    for name in ('xmp', 'XML:com.adobe.xmp'):
        image.info.pop(name, None)


def _rgb(image: Image.Image) -> np.ndarray:
    """Pixels (H, W, 3), uint8."""
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format == 'PPM'):  # grey of 16 bits
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode in ('I', 'F'):
        raise InputError('has pixels of 32 bits, which MMDetection does not read: convert it to 8 bits')
    pixels = np.asarray(image.convert('RGB'))
    if image.mode == 'RGBA' and getattr(image, 'tag_v2', {}).get(338) == (_UNASSOCIATED_ALPHA, ):
        alpha = np.asarray(image)[:, :, 3:].astype(np.uint32)
        return ((pixels * alpha + 127) // 255).astype(np.uint8)  # as libtiff gives it to OpenCV
    return pixels
