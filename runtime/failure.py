"""The exception for a failure of the C++ engine; called by the extension."""

from __future__ import annotations

from graphdet.errors import CorruptArtefact, FutureArtefact, GdError, InternalError, TruncatedArtefact, catalogue
from graphdet.runtime.fields import REBUILD

_OUT_OF_MEMORY = 901
_HELP: dict[type[GdError], str] = {
    CorruptArtefact: REBUILD,
    TruncatedArtefact: REBUILD,
    FutureArtefact: "upgrade graphdet",
}


def exception_of(code: int, text: str, cause: BaseException | None) -> BaseException:
    """The exception for a status of `csrc/include/graphdet/status.hpp`.

    cause: what Python code inside the call raised, such as a backend. An error of graphdet's own, an interrupt and a
    lack of memory are handed on as they are; of anything else the status says where it happened.
    """
    if cause is not None and (isinstance(cause, (GdError, MemoryError)) or not isinstance(cause, Exception)):
        return cause
    if code == _OUT_OF_MEMORY:
        return MemoryError(text)
    kind = next((kind for kind in catalogue() if kind.code == f"GD{code}"), InternalError)
    error = kind(text, help=_HELP.get(kind, ""))
    error.__cause__ = cause
    return error
