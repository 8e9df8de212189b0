"""The search: Optuna's samplers and pruners, kept so that many processes and restarts agree."""
