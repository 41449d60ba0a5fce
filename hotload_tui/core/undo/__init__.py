"""What generations started or changed in the process: noted, undone where possible, reported where not."""
