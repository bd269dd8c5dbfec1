"""Where a run folder is: on this host, on a file system that hosts share, or in object storage."""

from __future__ import annotations

import atexit
import glob
import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from platformdirs import user_cache_path

from claude_batch.errors import UsageError
from claude_batch.storage.files import make_private_folder, replace_file
from claude_batch.storage.folder.files import FolderFiles, LocalFiles
from claude_batch.storage.folder.host_copies import hold_copies
from claude_batch.storage.folder.shards import ShardFolder
from claude_batch.storage.objects.locations import is_url, location_of
from claude_batch.storage.run.paths import COPIES, MANIFEST, URL, has_manifest, is_manifest


def whole_name(name: str) -> str:
    """Return the name of a run folder from the root on, as another host would know it."""
    if is_url(name):
        return name.rstrip("/")
    return os.path.abspath(name)  # noqa: PTH100  # resolve() would follow links


def is_run_folder(name: str) -> bool:
    """Return whether there is a run folder of that name, or URL. Raises UsageError."""
    if not is_url(name):
        return has_manifest(Path(name))
    if glob.has_magic(name):
        return False
    return is_manifest(folder_files(whole_name(name)).read(MANIFEST) or b"")


def folder_files(name: str) -> FolderFiles:
    """Return the files of the run folder of that whole name. Raises UsageError."""
    if not is_url(name):
        return LocalFiles(Path(name))
    from claude_batch.storage.folder.object_files import ObjectFiles  # noqa: PLC0415  # rarely needed
    from claude_batch.storage.objects.store import ObjectStore  # noqa: PLC0415  # as above

    location = location_of(f"{name}/")
    return ObjectFiles(ObjectStore(location), location.key, _copies() / _digest(name))


def local_folder(files: FolderFiles, name: str, run_id: str) -> Path:
    """Return where the files of a run folder are on this host; of one elsewhere, their copies.

    Raises UsageError.
    """
    if isinstance(files, LocalFiles):
        return Path(name)
    from claude_batch.storage.folder.object_files import ObjectFiles  # noqa: PLC0415  # as above

    assert isinstance(files, ObjectFiles)  # noqa: S101  # there are two
    path = files.path / run_id
    try:
        hold_copies(path)
        if not (path / URL).exists():
            replace_file(path / MANIFEST, [files.read(MANIFEST) or b""])
            replace_file(path / URL, [name.encode()])
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be created: {error.strerror}",
            hint="results are kept there until object storage has them: set TMPDIR, or "
            "XDG_CACHE_HOME, to a folder that can be written to",
        ) from error
    files.path = path
    atexit.register(files.remove_copies)  # what is said until then may name a copy
    return path


def open_shard(path: Path, files: FolderFiles, shard: int) -> ShardFolder:
    """Return a shard of a run folder."""
    if isinstance(files, LocalFiles):
        return ShardFolder(path, shard)
    from claude_batch.storage.folder.object_files import ObjectFiles  # noqa: PLC0415  # as above
    from claude_batch.storage.folder.object_shards import ObjectShardFolder  # noqa: PLC0415

    assert isinstance(files, ObjectFiles)  # noqa: S101  # there are two
    return ObjectShardFolder(files, shard)


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def _copies() -> Path:
    """Return the private folder of this host below which copies of run folders are."""
    for above in (user_cache_path("claude-batch", appauthor=False), _temporary()):
        with suppress(OSError):
            make_private_folder(above / COPIES)
            if os.access(above / COPIES, os.W_OK) and (above / COPIES).stat().st_uid == os.getuid():
                return above / COPIES
    return _temporary() / COPIES


def _temporary() -> Path:
    return Path(tempfile.gettempdir()) / f"claude-batch-{os.getuid()}"
