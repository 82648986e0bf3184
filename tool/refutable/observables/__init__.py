"""What claims can ask for, by kind; `refutable.observables.registry` finds them by name."""
