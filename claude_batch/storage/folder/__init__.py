"""The files of a run folder: manifest, claims, shards."""
