"""What is timed, one file a group."""
