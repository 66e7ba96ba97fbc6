"""Every error a user can meet: one class per mistake, a stable code, and a help page in the class docstring.

`docs/errors.md` is generated from the docstrings below. Codes: GD1xx declaration, GD2xx types and frames, GD3xx
compile, GD4xx artefact and runtime, GD5xx data and weights, GD6xx training, GD9xx a fault of the library itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class GdError(Exception):
    """Base of all errors that graphdet raises on purpose.

    `message` says what was found and what was expected; `where` is an already rendered source excerpt with a caret;
    `help` says how to mend it; `about` is the position of the operand or the name of the attribute at fault, for type
    rules, which do not know where in the user's code it stands.
    """

    code: ClassVar[str] = "GD000"

    def __init__(self, message: str, *, where: str = "", help: str = "", about: int | str | None = None) -> None:
        super().__init__(message)
        self.message, self.where, self.help, self.about = message, where, help, about

    def __str__(self) -> str:
        lines = [f"{self.code} {self.message}"]
        if self.where:
            lines.append(self.where)
        if self.help:
            lines.append(f"  help: {self.help}")
        lines.append(f"  see docs/errors.md#{self.code.lower()}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        """The same facts for `--json` output."""
        return {"code": self.code, "message": self.message, "where": self.where, "help": self.help}


def nearest(name: str, known: Iterable[str]) -> str:
    """A 'did you mean' sentence for a misspelt name, or the empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else ""


# --- GD1xx: declaration -----------------------------------------------------------------------------------------------


class NoTrace(GdError):
    """An op, `param` or `scope` was used outside a trace.

    Ops build a graph; they do not compute. Call them inside a detector function and trace that with
    `graphdet.trace(detector, phase="infer")`.
    """

    code = "GD100"


class BadSignature(GdError):
    """The signature string of an `@op` declaration cannot be read, or does not fit the function's parameters.

    Grammar: `kind[dims], kind[dims] -> kind[dims]`, for example `f[N C H W], f[R 5] -> f[R C size size]`.
    """

    code = "GD101"


class ShapeMismatch(GdError):
    """An operand's dimension differs from what an earlier operand or attribute fixed.

    The message names the operand, the dimension, what was found and what was expected. A frequent cause is a wrong
    channel count after a concatenation.
    """

    code = "GD102"


class BadAttribute(GdError):
    """An operand or attribute of an op is missing, unknown to it, or of a type that it cannot take."""

    code = "GD103"


class DuplicateParameter(GdError):
    """Two `param` calls ask for the same full name.

    A parameter is used twice only through `share(...)`: wrap the function that declares it, and call the wrapped one.
    """

    code = "GD104"


class BadDetector(GdError):
    """A detector function returned something other than a `Detector`, or a variant row does not fit its parameters."""

    code = "GD105"


class PhaseLeak(GdError):
    """A train-only value (ground truth, an assignment, a loss) reached the detections.

    Values of ops with the TRAIN trait may flow only into losses. Use `by_phase(train=..., infer=...)` where the two
    phases must differ.
    """

    code = "GD120"


class BadGraph(GdError):
    """A graph breaks an invariant: use before definition, two values with one name, an output that is not in it."""

    code = "GD130"


class BadText(GdError):
    """The textual form of a graph cannot be parsed. The message gives line and column."""

    code = "GD131"


# --- GD2xx: types and frames ------------------------------------------------------------------------------------------


class KindMismatch(GdError):
    """An operand means something else than the op wants.

    Scores where logits are wanted (a double sigmoid), a plain tensor where boxes are wanted, floats where integers are
    wanted, two dtypes where one is wanted.

    Logits become scores once, by `sigmoid` or `softmax`. Plain numbers become boxes by a decode op or `as_boxes`.
    """

    code = "GD210"


class FrameMismatch(GdError):
    """Boxes or points are in another frame or format than the op wants.

    Frames: `net` (pixels of the padded network input), `image` (pixels of the original image), `roi`, `unit` (0..1).
    Formats: `xyxy`, `cxcywh`, `ltrb`, `deltas`. Decode ops give `net` boxes; `to_image` moves them to the original
    image, last.
    """

    code = "GD211"


class UnknownName(GdError):
    """A frame, format, phase, variant, target, op or option is not one of the known ones (often a misspelling)."""

    code = "GD212"


class BakedDim(GdError):
    """A literal number stands where a symbolic dimension belongs (a baked batch or image size).

    Take the dimension from a value (`x.dim(0)`) instead of writing the number, so that the graph holds for every size.
    """

    code = "GD220"


# --- GD3xx: compile and legalise --------------------------------------------------------------------------------------


class NotLowerable(GdError):
    """The target has no lowering, decomposition or native kernel for some ops.

    All of them are listed with their lines.
    """

    code = "GD300"


class ParityFailure(GdError):
    """The engine does not say what the reference says.

    The build fails; the first diverging op and its line are named.
    """

    code = "GD310"


class BatchLeak(GdError):
    """Images of one batch influence each other in the engine (or padding influences an image)."""

    code = "GD311"


class PassFailure(GdError):
    """A compiler pass broke the graph: types, parameter names or numbers changed. This is a fault of the pass."""

    code = "GD320"


class PrecisionMismatch(GdError):
    """The achieved precision differs from the requested one. Precision is never changed silently."""

    code = "GD321"


class BackendMissing(GdError):
    """A package that the requested target needs is not installed. The help line gives the command that installs it."""

    code = "GD330"


# --- GD4xx: artefact and runtime --------------------------------------------------------------------------------------


class NotAnArtefact(GdError):
    """The file is not a `.gdet` artefact (wrong magic bytes)."""

    code = "GD400"


class TruncatedArtefact(GdError):
    """The `.gdet` file is shorter than its header says. Copy or build it again."""

    code = "GD401"


class FutureArtefact(GdError):
    """The `.gdet` file was written by a newer format version. Upgrade graphdet."""

    code = "GD402"


class CorruptArtefact(GdError):
    """A checksum, size, offset or field of the `.gdet` file is wrong. Copy or build it again."""

    code = "GD403"


class BadImage(GdError):
    """An input image cannot be used: missing, undecodable, empty, of a wrong dtype or number of dimensions or channels.

    Accepted: a path, or a uint8 array `[H, W]`, `[H, W, 1]`, `[H, W, 3]` (BGR by default) or `[H, W, 4]`.
    """

    code = "GD410"


class BadInput(GdError):
    """A run-time input (batch size, image size, threshold) lies outside what the engine was built for."""

    code = "GD411"


class EngineClosed(GdError):
    """Work was submitted to an engine that had been closed, or was still waiting when it was closed."""

    code = "GD412"


# --- GD5xx: data and weights ------------------------------------------------------------------------------------------


class BadWeights(GdError):
    """A weights file cannot be read, or does not fit: missing, surplus or misshapen parameters are listed."""

    code = "GD500"


class HostilePickle(GdError):
    """A `.pth` file asks the unpickler for something that is not plain data. It was refused and nothing was run."""

    code = "GD501"


class BadDataset(GdError):
    """A dataset cannot be read: the message names the file, the record and what is wrong with it."""

    code = "GD510"


class MissingFile(GdError):
    """A file or folder given by the user does not exist."""

    code = "GD520"


# --- GD6xx: training --------------------------------------------------------------------------------------------------


class BadRecipe(GdError):
    """A training recipe has an unknown name, a value out of range, or does not fit the run that it is to resume."""

    code = "GD600"


class Diverged(GdError):
    """A loss term or a gradient became infinite or NaN, and training stopped before it could spoil the weights.

    The last checkpoint is intact. A lower `lr`, a longer `warmup` or a smaller `clip` usually helps; boxes of no or
    enormous extent in the annotations are the other frequent cause.
    """

    code = "GD601"


class LostProcess(GdError):
    """One of several training processes hangs or has ended, and the others gave up waiting for it.

    The message says how far each had come. Where all had begun the same step, look for what blocks one of them (a file
    system, a loader, the network between hosts); a process that ended has printed why. The last checkpoint is intact.
    """

    code = "GD602"


# --- GD9xx: our fault -------------------------------------------------------------------------------------------------


class InternalError(GdError):
    """graphdet itself is wrong. Please report it, with the printed graph."""

    code = "GD900"


def catalogue() -> list[type[GdError]]:
    """All error classes in the order of their codes."""
    return sorted(GdError.__subclasses__(), key=lambda e: e.code)
