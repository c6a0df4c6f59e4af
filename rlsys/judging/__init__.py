"""AI feedback: what a judge is asked, how its answer is read, and how it is watched. Loops see `roles.Judge`;
`judge.ModelJudge` implements it over a `backend.Backend`, which is an engine or an endpoint."""
