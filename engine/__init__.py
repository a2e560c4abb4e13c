"""Sources, features, trainers, assessment, release, the pipeline and the command line: the composition root."""
