"""Bring weights of another library under the names of a detector."""

from __future__ import annotations

from pathlib import Path

import click

from graphdet.cli._output import bytes_text, emit, facts, json_option


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--as", "variant_name", required=True, metavar="VARIANT", help="Detector of the zoo that the file fits.")
@click.option("--classes", type=click.IntRange(1, 10_000), help="Number of classes, where it is not the variant's own.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="Weights file to write (.safetensors)."
)
@json_option
def command(file: Path, variant_name: str, classes: int | None, output: Path, as_json: bool) -> None:
    """Read FILE (.onnx, .pth or .safetensors), check every name and shape, write safetensors.

    \b
    Example:
      graphdet import yolox_nano.onnx --as yolox_nano -o w.safetensors
    """  # noqa: D301
    from dataclasses import replace

    from graphdet import zoo
    from graphdet.errors import MissingFile
    from graphdet.importers import write_safetensors
    from graphdet.importers.detector import import_weights

    variant = zoo.get(variant_name)
    if classes is not None:
        variant = variant.with_arguments(num_classes=classes)
        if classes != len(variant.row.classes):
            variant = replace(variant, row=replace(variant.row, classes=()))
    weights = import_weights(file, variant)
    lasting = ("config", "source", "format", "sha256")  # the first is long, the others are true of the read file alone
    meta = {key: text for key, text in weights.meta.items() if key not in lasting}
    try:
        write_safetensors(output, weights.tensors, meta)
    except OSError as fault:
        raise MissingFile(f"cannot write {output}: {fault.strerror}", help="choose another place with -o") from None
    report = {
        "detector": variant.name,
        "source": weights.meta["source"],
        "format": weights.meta["format"],
        "sha256": weights.meta["sha256"],
        "tensors": len(weights.tensors),
        "convolutions": sum(array.ndim == 4 for array in weights.tensors.values()),
        "numbers": sum(array.size for array in weights.tensors.values()),
        "classes": len(weights.classes) or classes,
        "output": str(output),
        "bytes": output.stat().st_size,
    }
    if as_json:
        emit(report)
        return
    report["bytes"] = bytes_text(output.stat().st_size)
    facts(list(report.items()), title=f"{file.name} fits {variant.name}: every name and shape matches")
