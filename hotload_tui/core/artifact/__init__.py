"""What lies under ``compiled/``: the format of an artifact, and the folder that several processes share."""

from hotload_tui.core.artifact.artifact import (
    MAGIC,
    About,
    Artifact,
    Entry,
    Manifest,
    Member,
    write_artifact,
)
from hotload_tui.core.artifact.folder import (
    DIGITS,
    SUFFIX,
    alone,
    artifact_name,
    artifacts_of,
    find_artifacts,
    is_artifact_of,
    make_durable,
    remove,
    remove_leftovers,
    replace_file,
    sharing,
)
from hotload_tui.core.artifact.trash import discard, restore

__all__ = [
    "DIGITS",
    "MAGIC",
    "SUFFIX",
    "About",
    "Artifact",
    "Entry",
    "Manifest",
    "Member",
    "alone",
    "artifact_name",
    "artifacts_of",
    "discard",
    "find_artifacts",
    "is_artifact_of",
    "make_durable",
    "remove",
    "remove_leftovers",
    "replace_file",
    "restore",
    "sharing",
    "write_artifact",
]
