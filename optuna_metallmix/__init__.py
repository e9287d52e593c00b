"""past studies in an Optuna storage -> a checked, explained first trial."""
