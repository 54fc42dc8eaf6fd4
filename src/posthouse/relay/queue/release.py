"""Holding and releasing a queue file: a rename between `.00` and `.HELD`, durable when the function returns.

The caller has the lease, or `jobs.lock` while no controller runs. The prefix and the unique name stay; a name that is taken
is FileExistsError and nothing is changed.
"""

from posthouse.relay.queue import names
from posthouse.relay.queue.copy_ref import FileCopy
from posthouse.relay.queue.tree import QueueTree


def hold(tree: QueueTree, ref: FileCopy) -> FileCopy:
    """Hold a file; the new reference, the same one if it is held."""
    return _rename(tree, ref, held=True)


def release(tree: QueueTree, ref: FileCopy) -> FileCopy:
    """Release a held file; the new reference, the same one if it is not held."""
    return _rename(tree, ref, held=False)


def _rename(tree: QueueTree, ref: FileCopy, *, held: bool) -> FileCopy:
    name = names.parse(ref.name)
    if name is None:
        raise ValueError(f"not a queue file's name: {ref.name!r}")
    if name.held is held:
        return ref
    new = names.file_name(name.message, name.copy, name.attempts, held=held)
    folder = tree.of(ref)
    if tree.disk.stat(new, folder) is not None:
        raise FileExistsError(17, "another file has the name already", new)
    tree.disk.rename(ref.name, new, folder, folder)
    tree.disk.fsync_dir(folder)
    return FileCopy(ref.channel, ref.subdir, new)
