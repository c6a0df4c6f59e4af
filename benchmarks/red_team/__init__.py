"""The red team's loop on the playground: attack, learn from what succeeded, attack again; see `docs/safety.md`."""
