"""The policy-gradient family: one loop, independent axes. The papers' methods are presets of it, a file each in
`rlsys/methods`."""
