"""What the pages say."""

VERSION = 1
