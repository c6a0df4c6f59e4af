"""Pure math of the losses. Imports torch and nothing else of ours."""
