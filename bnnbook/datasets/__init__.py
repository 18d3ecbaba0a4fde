"""Data sets: each function returns a frozen :class:`Dataset`, a training and a test half."""

from bnnbook.datasets.base import Dataset
from bnnbook.datasets.classification import GroupedDataset, boxes, grouped_moons, two_moons
from bnnbook.datasets.idx_files import DataUnavailableError
from bnnbook.datasets.images import digits, fashion_mnist, mnist, photo_patches, rotate_images
from bnnbook.datasets.reference_data import ReferenceData
from bnnbook.datasets.references import Reference, reference, reference_data, reference_names
from bnnbook.datasets.regression import (
    CLUSTERS,
    WAVES,
    Cluster,
    diabetes,
    wave_clusters,
    wave_gaps,
)
from bnnbook.datasets.tables import UCI, bike_hours, uci

__all__ = [
    "CLUSTERS",
    "UCI",
    "WAVES",
    "Cluster",
    "DataUnavailableError",
    "Dataset",
    "GroupedDataset",
    "Reference",
    "ReferenceData",
    "bike_hours",
    "boxes",
    "diabetes",
    "digits",
    "fashion_mnist",
    "grouped_moons",
    "mnist",
    "photo_patches",
    "reference",
    "reference_data",
    "reference_names",
    "rotate_images",
    "two_moons",
    "uci",
    "wave_clusters",
    "wave_gaps",
]
