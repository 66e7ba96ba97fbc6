"""The command line: `graphdet <verb>`. One verb a file; `main` finds them by file name."""
