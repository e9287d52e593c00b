"""The families of tasks; each module's ``family(options)`` pairs tasks with methods."""
