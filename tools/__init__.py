"""What makes the files that Headway ships: fits, validation, training; not part of the package."""
