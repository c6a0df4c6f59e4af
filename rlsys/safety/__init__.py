"""Safety that is measured: what a model refuses and should not, what it does and should refuse, and what follows."""
