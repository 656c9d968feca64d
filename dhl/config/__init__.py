"""What a run is: the configuration's schema, presets and rules, and the registries of names."""
