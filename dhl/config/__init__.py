"""The configuration: schema, presets, rules, and the names of methods, networks and data sets."""
