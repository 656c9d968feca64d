"""Clean images: the embedded data set, folders, and their form on disk."""
