"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from errno import EACCES, EISDIR
from pathlib import Path

from headway.errors import InputError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write ``path`` whole or not at all; raise `InputError` where it cannot be written."""
    write_together({path: content})


def write_together(files: Mapping[Path, str | bytes]) -> None:
    """Write all ``files`` whole, or none of them; raise `InputError` for the one that cannot be.

    A link is followed, and a pipe or a device (``/dev/stdout``) is written to, never replaced.
    """
    staged: list[tuple[Path, Path]] = []
    path = Path()
    try:
        # Write everything that can be taken back: a stream cannot.
        streams = []
        for path, content in files.items():
            binary = content.encode() if isinstance(content, str) else content
            if _is_stream(path):
                streams.append((path, binary))
            else:
                staged.append(_stage(path, binary))

        for path, binary in streams:
            with path.open("wb", buffering=0) as stream:
                stream.write(binary)

        while staged:
            part, path = staged[-1]
            os.replace(part, path)
            staged.pop()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from None
    finally:
        for part, _ in staged:
            part.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    return path.exists() and not (path.is_file() or path.is_dir())


def _stage(path: Path, content: bytes) -> tuple[Path, Path]:
    """Write ``content`` beside the file that ``path`` leads to; return that part, and the file."""
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(EISDIR, os.strerror(EISDIR))
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(EACCES, os.strerror(EACCES))

    part = target.with_name(f".headway-{os.urandom(8).hex()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        if target.exists():
            part.chmod(target.stat().st_mode & 0o777)
    except BaseException:
        part.unlink()
        raise
    return part, target
