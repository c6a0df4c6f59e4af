"""Every method of training, and of making data to train on: one file each, which defines `Config` and `Method` (see
`base`).

The folder is the registry: `method: {name: grpo}` is `grpo.py`. `policy_gradient/` is the one algorithm behind its
presets, `shared/` what several methods use.
"""
