"""Holding and releasing a queue file: a rename between `.00` and `.HELD`, durable when the function returns.

The caller has the lease, or `jobs.lock` while no controller runs. The unique name stays. A released file begins with ZZ again: it
goes at once, also when the relay is started only later. A name that is taken is FileExistsError and nothing is changed.
"""

from collections.abc import Sequence

from posthouse.relay.queue import names
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.tree import QueueTree


def hold(tree: QueueTree, ref: FileCopy) -> FileCopy:
    """Hold a file; the new reference, the same one if it is held."""
    return _rename(tree, ref, held=True)


def release(tree: QueueTree, ref: FileCopy) -> FileCopy:
    """Release a held file; the new reference, the same one if it is not held."""
    return _rename(tree, ref, held=False)


def rename_all(tree: QueueTree, refs: Sequence[FileCopy], *, held: bool) -> list[FileCopy | OSError]:
    """Hold or release many files with one sync for each folder; for each its new reference, or why not.

    Raises:
        OSError: a folder could not be synced: what was renamed may not be durable.
    """
    done: list[FileCopy | OSError] = []
    for ref in refs:
        try:
            done.append(_change_name(tree, ref, held=held))
        except OSError as error:
            done.append(error)
    for folder in {tree.of(each) for each in done if not isinstance(each, OSError)}:
        tree.disk.fsync_dir(folder)
    return done


def _rename(tree: QueueTree, ref: FileCopy, *, held: bool) -> FileCopy:
    new = _change_name(tree, ref, held=held)
    if new is not ref:
        tree.disk.fsync_dir(tree.of(ref))
    return new


def _change_name(tree: QueueTree, ref: FileCopy, *, held: bool) -> FileCopy:
    name = names.parse(ref.name)
    if name is None:
        raise ValueError(f"not a queue file's name: {ref.name!r}")
    if name.held is held:
        return ref
    new = names.file_name(name.message, name.copy, name.attempts if held else 0, held=held)
    folder = tree.of(ref)
    if tree.disk.stat(new, folder) is not None:
        raise FileExistsError(17, "another file has the name already", new)
    tree.disk.rename(ref.name, new, folder, folder)
    return FileCopy(ref.channel, ref.subdir, new)
