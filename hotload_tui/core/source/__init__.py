"""A plugin's source: which of its files count, their bytes, and the digest over them."""

from hotload_tui.core.source.rule import ENTRY, NOISE, SourceRule, is_noise
from hotload_tui.core.source.scan import FileFacts, Listing, folder_facts, is_as_listed, is_older, scan
from hotload_tui.core.source.source import (
    FORMAT,
    Source,
    SourceFile,
    check_entry,
    decoded,
    digest_of,
    is_as_read,
    printable,
    read_file,
    read_source,
)

__all__ = [
    "ENTRY",
    "FORMAT",
    "NOISE",
    "FileFacts",
    "Listing",
    "Source",
    "SourceFile",
    "SourceRule",
    "check_entry",
    "decoded",
    "digest_of",
    "folder_facts",
    "is_as_listed",
    "is_as_read",
    "is_noise",
    "is_older",
    "printable",
    "read_file",
    "read_source",
    "scan",
]
