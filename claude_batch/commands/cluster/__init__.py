"""`--on ray`: shards of a run folder placed on a cluster, and what a worker does there."""
