"""How well a system finds: measures, baselines, and one run of both over test collections."""
