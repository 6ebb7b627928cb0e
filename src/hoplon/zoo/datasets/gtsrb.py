"""Official folders of the German traffic sign benchmark (Stallkamp et al. 2012): pictures and csv files."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.errors import DataError
from .dataset import Dataset
from .folder import subfolders
from .pictures import Box, Size, open_picture, stack

GTSRB_NAMES = (
    "Speed limit (20km/h)",
    "Speed limit (30km/h)",
    "Speed limit (50km/h)",
    "Speed limit (60km/h)",
    "Speed limit (70km/h)",
    "Speed limit (80km/h)",
    "End of speed limit (80km/h)",
    "Speed limit (100km/h)",
    "Speed limit (120km/h)",
    "No passing",
    "No passing for vehicles over 3.5 metric tons",
    "Right-of-way at the next intersection",
    "Priority road",
    "Yield",
    "Stop",
    "No vehicles",
    "Vehicles over 3.5 metric tons prohibited",
    "No entry",
    "General caution",
    "Dangerous curve to the left",
    "Dangerous curve to the right",
    "Double curve",
    "Bumpy road",
    "Slippery road",
    "Road narrows on the right",
    "Road work",
    "Traffic signals",
    "Pedestrians",
    "Children crossing",
    "Bicycles crossing",
    "Beware of ice/snow",
    "Wild animals crossing",
    "End of all speed and passing limits",
    "Turn right ahead",
    "Turn left ahead",
    "Ahead only",
    "Go straight or right",
    "Go straight or left",
    "Keep right",
    "Keep left",
    "Roundabout mandatory",
    "End of no passing",
    "End of no passing by vehicles over 3.5 metric tons",
)
_TRAIN = Path("Final_Training/Images")
_TEST = Path("Final_Test/Images")
_TRUTH = "GT-final_test.csv"  # the file of the same name but for .test.csv lacks the classes
_ROI = ("Roi.X1", "Roi.Y1", "Roi.X2", "Roi.Y2")


@dataclass(frozen=True)
class _Sign:
    """One row of a csv file."""

    path: Path
    box: Box  # where in the picture the sign is
    label: int


def is_gtsrb(folder: Path) -> bool:
    """Does the folder have the official layout, of either split?"""
    return (folder / _TRAIN).is_dir() or _truth(folder) is not None


def load_gtsrb(folder: Path, split: str, *, size: Size | None = None, crop: bool = False) -> Dataset:
    """Signs [n, h, w, 3] uint8, resized (32x32 unless told), and cropped to the sign's own box if wanted."""
    signs = _signs(folder, split)
    paths = [sign.path for sign in signs]
    x = stack(paths, lambda i: open_picture(paths[i], size or 32, signs[i].box if crop else None))
    labels = np.array([sign.label for sign in signs], "int64")
    return Dataset(x, labels, GTSRB_NAMES, (0.0, 255.0), folder.name)


def _signs(folder: Path, split: str) -> list[_Sign]:
    """All rows of one split: of one table for test, of one table per class for train."""
    truth = _truth(folder)
    if split == "test" and truth is not None:
        pictures = folder / _TEST if (folder / _TEST).is_dir() else truth.parent
        found = _read_table(truth, pictures)
    elif split == "train" and (folder / _TRAIN).is_dir():
        classes = subfolders(folder / _TRAIN)
        found = [sign for home in classes for sign in _read_table(home / f"GT-{home.name}.csv", home)]
    else:
        wanted = _TRUTH if split == "test" else f"the folder {_TRAIN}"
        raise DataError.expected(f"{folder} must hold {wanted} for the split {split}.", "neither it nor its like")
    if not found:
        raise DataError.expected(f"{folder} must list signs of the split {split}.", "empty tables")
    return found


def _truth(folder: Path) -> Path | None:
    """The table of the test split: beside the folders or among the pictures."""
    places = (folder, folder / _TEST.parent, folder / _TEST)
    return next((place / _TRUTH for place in places if (place / _TRUTH).is_file()), None)


def _read_table(path: Path, pictures: Path) -> list[_Sign]:
    """Rows of one csv file with semicolons."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_sign(row, pictures) for row in csv.DictReader(file, delimiter=";")]
    except DataError:
        raise
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        what = f"{path} must be a table Filename;Width;Height;{';'.join(_ROI)};ClassId."
        raise DataError.expected(what, f"{type(error).__name__} {error}", "Unpack it again.") from error


def _sign(row: dict[str, str], pictures: Path) -> _Sign:
    """One row; a table must not lead out of its own folder."""
    if Path(row["Filename"]).name != row["Filename"]:
        raise DataError.expected("A GTSRB table names files of its own folder.", row["Filename"])
    left, upper, right, lower = (int(row[key]) for key in _ROI)
    return _Sign(pictures / row["Filename"], (left, upper, right, lower), int(row["ClassId"]))
