"""What generations start or change in the process: recorded, undone where possible, otherwise reported."""
