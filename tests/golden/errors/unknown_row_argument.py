"""A row of the table names an argument that the function lacks."""

from graphdet.ir import Detector, detector, row, trace
from graphdet.records import Preprocess


@detector({"mine": row(Preprocess(), classes=("cat", "dog"), widht=64)})
def mine(image, *, width):
    return Detector(image.pixels, {})
