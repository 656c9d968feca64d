"""Clean images and their noise: embedded data, downloads, folders of the user."""
