"""The methods that are compared: this library, its controls, and the baselines."""
